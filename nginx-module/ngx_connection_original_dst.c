
/*
 * Asks the kernel's connection tracking for the original destination, and
 * keeps the answer, an empty one too, as long as the connection.
 *
 * No answer is nothing unusual: connections that no rule redirected, unix
 * sockets and UDP have none.  It is never worth more than a debug line.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_connection_original_dst.h>


/*
 * The number is part of the kernel's interface and the same for IPv4 and IPv6.
 * Its headers are not included: they clash with the C library's.
 */

#define NGX_SO_ORIGINAL_DST  80


typedef struct {
    ngx_str_t                     value;
    u_char                        text[NGX_SOCKADDR_STRLEN];
} ngx_connection_original_dst_t;


static ngx_connection_original_dst_t *ngx_connection_original_dst_find(
    ngx_connection_t *c);
static size_t ngx_connection_original_dst_ask(ngx_connection_t *c,
    u_char *text, size_t len);
static void ngx_connection_original_dst_forget(void *data);


ngx_str_t *
ngx_connection_original_dst(ngx_connection_t *c)
{
    ngx_pool_cleanup_t             *cln;
    ngx_connection_original_dst_t  *dst;

    dst = ngx_connection_original_dst_find(c);
    if (dst) {
        return &dst->value;
    }

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_connection_original_dst_t));
    if (cln == NULL) {
        return NULL;
    }

    dst = cln->data;

    dst->value.data = dst->text;
    dst->value.len = ngx_connection_original_dst_ask(c, dst->text,
                                                     NGX_SOCKADDR_STRLEN);

    cln->handler = ngx_connection_original_dst_forget;

    return &dst->value;
}


/*
 * A connection has no place for the data of modules.  The list of its pool's
 * clean-up handlers is one: it has a few members at most, and our handler's
 * address tells which is ours.
 */

static ngx_connection_original_dst_t *
ngx_connection_original_dst_find(ngx_connection_t *c)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_connection_original_dst_forget) {
            return cln->data;
        }
    }

    return NULL;
}


/*
 * The socket itself is asked for its family, not the listener, which may be of
 * another one where a connection was passed on.  An IPv6 socket that carries
 * IPv4 is known to the connection tracking by its IPv4 addresses only.
 */

static size_t
ngx_connection_original_dst_ask(ngx_connection_t *c, u_char *text, size_t len)
{
    int              level;
    socklen_t        socklen;
    ngx_sockaddr_t   sa;

    socklen = sizeof(ngx_sockaddr_t);

    if (getsockname(c->fd, &sa.sockaddr, &socklen) == -1) {
        ngx_log_debug0(NGX_LOG_DEBUG_CORE, c->log, ngx_socket_errno,
                       "connection original dst: getsockname() failed");
        return 0;
    }

    switch (sa.sockaddr.sa_family) {

    case AF_INET:
        level = IPPROTO_IP;
        break;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        level = IN6_IS_ADDR_V4MAPPED(&sa.sockaddr_in6.sin6_addr)
                ? IPPROTO_IP : IPPROTO_IPV6;
        break;
#endif

    default:
        ngx_log_debug1(NGX_LOG_DEBUG_CORE, c->log, 0,
                       "connection original dst: none, address family %d",
                       (int) sa.sockaddr.sa_family);
        return 0;
    }

    socklen = sizeof(ngx_sockaddr_t);

    if (getsockopt(c->fd, level, NGX_SO_ORIGINAL_DST, &sa, &socklen) == -1) {
        ngx_log_debug0(NGX_LOG_DEBUG_CORE, c->log, ngx_socket_errno,
                       "connection original dst: none");
        return 0;
    }

    len = ngx_sock_ntop(&sa.sockaddr, socklen, text, len, 1);

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, c->log, 0,
                   "connection original dst: %*s", len, text);

    return len;
}


/* There is nothing to free; the address of this function marks our data. */

static void
ngx_connection_original_dst_forget(void *data)
{
}
