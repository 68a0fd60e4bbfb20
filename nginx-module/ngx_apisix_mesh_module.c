
/*
 * The life cycle of libapisix_mesh in nginx.
 *
 * Without the block "apisix_mesh" this module does nothing.
 *
 * The process that reads the configuration opens the etcd socket and keeps it
 * over reloads and upgrades of the binary, so that clients wait in its backlog
 * and are never refused.  Each worker starts the library, which lets one of
 * them host and the others take its place; where there is a privileged agent,
 * it hosts and the workers follow.  A worker that is told to quit stops the
 * library before it serves its last requests, and from then on only follows.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_apisix_mesh_conf.h>


/* apisix_mesh_start and apisix_mesh_follow */
typedef apisix_mesh_result (*ngx_apisix_mesh_begin_pt)(const char *config,
    size_t len, apisix_mesh **mesh);


static void *ngx_apisix_mesh_create_conf(ngx_cycle_t *cycle);
static char *ngx_apisix_mesh_init_conf(ngx_cycle_t *cycle, void *data);
static void ngx_apisix_mesh_close(void *data);

static ngx_int_t ngx_apisix_mesh_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_apisix_mesh_init_process(ngx_cycle_t *cycle);
static ngx_uint_t ngx_apisix_mesh_may_host(ngx_cycle_t *cycle);
static void ngx_apisix_mesh_exit_process(ngx_cycle_t *cycle);
static void ngx_apisix_mesh_start(ngx_cycle_t *cycle);
static void ngx_apisix_mesh_follow(ngx_cycle_t *cycle);
static void ngx_apisix_mesh_begin(ngx_cycle_t *cycle, ngx_socket_t fd,
    ngx_apisix_mesh_begin_pt begin, char *verb);
static void ngx_apisix_mesh_stop(void);
static void ngx_apisix_mesh_watch_shutdown(ngx_cycle_t *cycle);
static void ngx_apisix_mesh_shutdown_handler(ngx_event_t *ev);
static void ngx_apisix_mesh_log(void *data, apisix_mesh_log_level level,
    const char *text, size_t len);


static ngx_command_t  ngx_apisix_mesh_commands[] = {

    { ngx_string("apisix_mesh"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS,
      ngx_apisix_mesh_block,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_apisix_mesh_module_ctx = {
    ngx_string("apisix_mesh"),
    ngx_apisix_mesh_create_conf,
    ngx_apisix_mesh_init_conf
};


ngx_module_t  ngx_apisix_mesh_module = {
    NGX_MODULE_V1,
    &ngx_apisix_mesh_module_ctx,           /* module context */
    ngx_apisix_mesh_commands,              /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_apisix_mesh_init_module,           /* init module */
    ngx_apisix_mesh_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_apisix_mesh_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* the configuration in force; its socket outlives it when the next takes it */
static ngx_apisix_mesh_conf_t  *ngx_apisix_mesh_current;

/* the library, where this process runs it */
static apisix_mesh             *ngx_apisix_mesh;


static void *
ngx_apisix_mesh_create_conf(ngx_cycle_t *cycle)
{
    ngx_apisix_mesh_conf_t  *mcf;

    mcf = ngx_pcalloc(cycle->pool, sizeof(ngx_apisix_mesh_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    mcf->pool = cycle->pool;
    mcf->fd = (ngx_socket_t) -1;

    return mcf;
}


/*
 * Here and not in init_module: a cycle that fails here is dropped and the old
 * one goes on, while an error of init_module ends the master process.  From
 * now on the socket belongs to the pool, whatever becomes of the cycle.
 */

static char *
ngx_apisix_mesh_init_conf(ngx_cycle_t *cycle, void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    ngx_str_t           *old, *new;
    ngx_pool_cleanup_t  *cln;

    if (mcf->settings == NULL || ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    if (ngx_apisix_mesh_directory(cycle, mcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_test_config) {
        return NGX_CONF_OK;
    }

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_apisix_mesh_close;
    cln->data = mcf;

    if (!ngx_apisix_mesh_listens(mcf)) {
        return NGX_CONF_OK;
    }

    if (ngx_apisix_mesh_current
        && ngx_apisix_mesh_current->fd != (ngx_socket_t) -1)
    {
        new = ngx_apisix_mesh_value(mcf, "etcd_listen");
        old = ngx_apisix_mesh_value(ngx_apisix_mesh_current, "etcd_listen");

        if (old->len == new->len
            && ngx_strncmp(old->data, new->data, new->len) == 0)
        {
            /* init_module takes the open socket over */
            return NGX_CONF_OK;
        }
    }

    return ngx_apisix_mesh_open(cycle, mcf) == NGX_OK ? NGX_CONF_OK
                                                      : NGX_CONF_ERROR;
}


/*
 * Clean-up of a cycle's pool: a configuration that never came into force, or
 * the last one before this module is loaded no more.
 */

static void
ngx_apisix_mesh_close(void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    if (mcf == ngx_apisix_mesh_current) {
        ngx_apisix_mesh_current = NULL;
    }

    if (mcf->fd == (ngx_socket_t) -1) {
        return;
    }

    if (ngx_close_socket(mcf->fd) == -1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_socket_errno,
                      ngx_close_socket_n " of the etcd endpoint failed");
    }

    mcf->fd = (ngx_socket_t) -1;
}


static ngx_int_t
ngx_apisix_mesh_init_module(ngx_cycle_t *cycle)
{
    ngx_apisix_mesh_conf_t  *mcf, *old;

    if (ngx_test_config) {
        return NGX_OK;
    }

    mcf = (ngx_apisix_mesh_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                                  ngx_apisix_mesh_module);
    old = ngx_apisix_mesh_current;

    if (old) {
        if (mcf->settings && mcf->fd == (ngx_socket_t) -1
            && ngx_apisix_mesh_listens(mcf))
        {
            mcf->fd = old->fd;
            old->fd = (ngx_socket_t) -1;

        } else {
            ngx_apisix_mesh_close(old);
        }
    }

    ngx_apisix_mesh_current = mcf->settings ? mcf : NULL;

    if (mcf->fd != (ngx_socket_t) -1
        && ngx_apisix_mesh_hand_on(cycle, mcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a single process is not started anew on reload, so this is its start */

    if (ngx_process == NGX_PROCESS_SINGLE
        && !ngx_is_init_cycle(cycle->old_cycle))
    {
        ngx_apisix_mesh_stop();
        ngx_apisix_mesh_start(cycle);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_apisix_mesh_init_process(ngx_cycle_t *cycle)
{
    if (ngx_apisix_mesh_current == NULL) {
        return NGX_OK;
    }

    if (ngx_apisix_mesh_may_host(cycle)) {

        if (ngx_apisix_mesh_current->fd != (ngx_socket_t) -1
            && fcntl(ngx_apisix_mesh_current->fd, F_SETFD, FD_CLOEXEC) == -1)
        {
            ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                          "fcntl(FD_CLOEXEC) of the etcd socket failed");
        }

        ngx_apisix_mesh_start(cycle);

        if (ngx_process == NGX_PROCESS_WORKER) {
            ngx_apisix_mesh_watch_shutdown(cycle);
        }

        return NGX_OK;
    }

    if (ngx_process == NGX_PROCESS_WORKER) {
        ngx_apisix_mesh_follow(cycle);
    }

    /* the master keeps the socket open, this process has no use for it */
    ngx_apisix_mesh_close(ngx_apisix_mesh_current);

    return NGX_OK;
}


/*
 * The privileged agent of OpenResty's patch, which is in no plain nginx, is not
 * in the way of traffic and is not replaced while requests drain.
 */

static ngx_uint_t
ngx_apisix_mesh_may_host(ngx_cycle_t *cycle)
{
#if (HAVE_PRIVILEGED_PROCESS_PATCH)
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (ccf->privileged_agent && ngx_process != NGX_PROCESS_SINGLE) {
        return ngx_is_privileged_agent;
    }
#endif

    return ngx_process == NGX_PROCESS_WORKER
           || ngx_process == NGX_PROCESS_SINGLE;
}


/* Covers the ways to exit without being told to quit, and a single process. */

static void
ngx_apisix_mesh_exit_process(ngx_cycle_t *cycle)
{
    ngx_apisix_mesh_stop();
}


static void
ngx_apisix_mesh_start(ngx_cycle_t *cycle)
{
    if (ngx_apisix_mesh_current) {
        ngx_apisix_mesh_begin(cycle, ngx_apisix_mesh_current->fd,
                              apisix_mesh_start, "start");
    }
}


static void
ngx_apisix_mesh_follow(ngx_cycle_t *cycle)
{
    ngx_apisix_mesh_begin(cycle, (ngx_socket_t) -1, apisix_mesh_follow,
                          "follow");
}


/* A failure is reported and no more: the process serves what it knows. */

static void
ngx_apisix_mesh_begin(ngx_cycle_t *cycle, ngx_socket_t fd,
    ngx_apisix_mesh_begin_pt begin, char *verb)
{
    apisix_mesh_buffer  text, error;
    apisix_mesh_result  rc;

    apisix_mesh_set_log(ngx_apisix_mesh_log, cycle->log);

    rc = ngx_apisix_mesh_text(ngx_apisix_mesh_current, fd, &text);

    if (rc == APISIX_MESH_RESULT_OK) {
        rc = begin(text.data, text.len, &ngx_apisix_mesh);
        apisix_mesh_buffer_free(&text);
    }

    if (rc != APISIX_MESH_RESULT_OK) {
        error = apisix_mesh_last_error();

        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "apisix_mesh does not %s: %*s",
                      verb, error.len, error.data);
    }
}


/*
 * The library waits for its thread, a second at most, and a moment as a rule.
 * The log function goes too: this module can be unmapped, the thread cannot be
 * forced to end.
 */

static void
ngx_apisix_mesh_stop(void)
{
    apisix_mesh_buffer  error;

    if (ngx_apisix_mesh == NULL) {
        return;
    }

    if (apisix_mesh_stop(ngx_apisix_mesh) != APISIX_MESH_RESULT_OK) {
        error = apisix_mesh_last_error();

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "apisix_mesh does not stop: %*s", error.len, error.data);
    }

    ngx_apisix_mesh = NULL;

    apisix_mesh_set_log(NULL, NULL);
}


/*
 * nginx calls modules when a worker exits, which may be hours after it was told
 * to quit.  What it does at once is to call the read handlers of idle
 * connections, so we hold one.  It carries a descriptor that is always there
 * only because a connection without one is taken for free; no event is ever
 * asked for on it.
 */

static void
ngx_apisix_mesh_watch_shutdown(ngx_cycle_t *cycle)
{
    ngx_connection_t  *c;

    if (ngx_apisix_mesh == NULL) {
        return;
    }

    c = ngx_get_connection(STDIN_FILENO, cycle->log);
    if (c == NULL) {
        /* reported; exit_process is left */
        return;
    }

    c->idle = 1;
    c->read->handler = ngx_apisix_mesh_shutdown_handler;
    c->read->log = cycle->log;
}


static void
ngx_apisix_mesh_shutdown_handler(ngx_event_t *ev)
{
    ngx_connection_t *c = ev->data;

    if (!c->close) {
        return;
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ngx_apisix_mesh_stop();
    ngx_apisix_mesh_follow((ngx_cycle_t *) ngx_cycle);

    /* or a client could wait in the backlog of a socket without a host */
    ngx_apisix_mesh_close(ngx_apisix_mesh_current);
}


/*
 * Called on threads of the library.  That is safe: a line of the error log is
 * built on the stack, with the time string of the event loop, which is replaced
 * and not overwritten when time goes on, and goes out in one write; nginx's own
 * thread pools log in this way.
 *
 * Changes of state are notices here, the level of nginx's own.  Names that come
 * from the control plane do not get to write lines of their own.
 */

static void
ngx_apisix_mesh_log(void *data, apisix_mesh_log_level level, const char *text,
    size_t len)
{
    ngx_log_t *log = data;

    size_t       i;
    u_char       line[NGX_MAX_ERROR_STR];
    ngx_uint_t   nginx_level;

    switch (level) {

    case APISIX_MESH_LOG_LEVEL_ERROR:
        nginx_level = NGX_LOG_ERR;
        break;

    case APISIX_MESH_LOG_LEVEL_WARN:
        nginx_level = NGX_LOG_WARN;
        break;

    case APISIX_MESH_LOG_LEVEL_INFO:
        nginx_level = NGX_LOG_NOTICE;
        break;

    default:
        nginx_level = NGX_LOG_DEBUG;
        break;
    }

    len = ngx_min(len, NGX_MAX_ERROR_STR);

    for (i = 0; i < len; i++) {
        line[i] = ((u_char) text[i] < ' ') ? ' ' : (u_char) text[i];
    }

    ngx_log_error(nginx_level, log, 0, "apisix_mesh: %*s", len, line);
}
