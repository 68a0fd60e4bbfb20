
/*
 * The etcd socket in the process that reads the configuration: opened, or
 * inherited from the binary before, and handed on to the next.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_apisix_mesh_conf.h>


/* as nginx does with its own sockets in NGINX: "fd;address" */
#define NGX_APISIX_MESH_VAR  "NGX_APISIX_MESH"


static ngx_socket_t ngx_apisix_mesh_inherited(ngx_cycle_t *cycle,
    ngx_apisix_mesh_conf_t *mcf);


ngx_int_t
ngx_apisix_mesh_open(ngx_cycle_t *cycle, ngx_apisix_mesh_conf_t *mcf)
{
    int                 fd;
    ngx_socket_t        inherited;
    apisix_mesh_buffer  text, error;
    apisix_mesh_result  rc;

    inherited = ngx_apisix_mesh_inherited(cycle, mcf);

    rc = ngx_apisix_mesh_text(mcf, inherited, &text);

    if (rc == APISIX_MESH_RESULT_OK) {
        rc = apisix_mesh_listen(text.data, text.len, &fd);
        apisix_mesh_buffer_free(&text);
    }

    if (rc != APISIX_MESH_RESULT_OK) {
        error = apisix_mesh_last_error();

        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "apisix_mesh: %*s",
                      error.len, error.data);
        return NGX_ERROR;
    }

    mcf->fd = fd;

    if (inherited != (ngx_socket_t) -1 && ngx_close_socket(inherited) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_socket_errno,
                      ngx_close_socket_n " of the inherited socket failed");
    }

    return NGX_OK;
}


/*
 * The socket that the binary before this one handed on, if it is for this
 * address; -1 if there is none.  One for another address is closed.
 */

static ngx_socket_t
ngx_apisix_mesh_inherited(ngx_cycle_t *cycle, ngx_apisix_mesh_conf_t *mcf)
{
    u_char        *value, *address;
    ngx_int_t      n;
    ngx_str_t     *listen;
    ngx_socket_t   fd;

    value = (u_char *) getenv(NGX_APISIX_MESH_VAR);

    /* the variable alone can come from anywhere, such as a shell of a worker */

    if (value == NULL || !ngx_inherited || !ngx_is_init_cycle(cycle->old_cycle))
    {
        return (ngx_socket_t) -1;
    }

    address = (u_char *) ngx_strchr(value, ';');
    if (address == NULL) {
        return (ngx_socket_t) -1;
    }

    n = ngx_atoi(value, address++ - value);
    if (n == NGX_ERROR) {
        return (ngx_socket_t) -1;
    }

    fd = (ngx_socket_t) n;

    listen = ngx_apisix_mesh_value(mcf, "etcd_listen");

    if (ngx_strlen(address) == listen->len
        && ngx_strncmp(address, listen->data, listen->len) == 0)
    {
        return fd;
    }

    if (ngx_close_socket(fd) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_socket_errno,
                      ngx_close_socket_n " of the inherited socket failed");
    }

    return (ngx_socket_t) -1;
}


ngx_int_t
ngx_apisix_mesh_hand_on(ngx_cycle_t *cycle, ngx_apisix_mesh_conf_t *mcf)
{
    size_t            len;
    ngx_str_t        *var, *listen;
    ngx_core_conf_t  *ccf;

    listen = ngx_apisix_mesh_value(mcf, "etcd_listen");
    len = sizeof(NGX_APISIX_MESH_VAR "=;") + NGX_INT_T_LEN + listen->len;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->len = sizeof(NGX_APISIX_MESH_VAR) - 1;
    var->data = ngx_pnalloc(cycle->pool, len);
    if (var->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(var->data, NGX_APISIX_MESH_VAR "=%d;%V%Z", (int) mcf->fd,
                listen);

    if (fcntl(mcf->fd, F_SETFD, 0) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                      "fcntl(F_SETFD) of the etcd socket failed");
    }

    return NGX_OK;
}
