
/*
 * $connection_original_dst for http: "ip:port" before redirection, or empty.
 *
 * Runtimes made for APISIX define the same variable in the core, for IPv4
 * only, as one that cannot be redefined.  This module's handler takes its
 * place, whichever came first.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <ngx_connection_original_dst.h>


static ngx_int_t ngx_http_connection_original_dst_define(ngx_conf_t *cf);
static ngx_int_t ngx_http_connection_original_dst_take(ngx_conf_t *cf);
static ngx_http_variable_t *ngx_http_connection_original_dst_find(
    ngx_conf_t *cf);
static ngx_int_t ngx_http_connection_original_dst_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_module_t  ngx_http_connection_original_dst_module_ctx = {
    ngx_http_connection_original_dst_define, /* preconfiguration */
    ngx_http_connection_original_dst_take, /* postconfiguration */

    NULL,                              /* create main configuration */
    NULL,                              /* init main configuration */

    NULL,                              /* create server configuration */
    NULL,                              /* merge server configuration */

    NULL,                              /* create location configuration */
    NULL                               /* merge location configuration */
};


ngx_module_t  ngx_http_connection_original_dst_module = {
    NGX_MODULE_V1,
    &ngx_http_connection_original_dst_module_ctx, /* module context */
    NULL,                              /* module directives */
    NGX_HTTP_MODULE,                   /* module type */
    NULL,                              /* init master */
    NULL,                              /* init module */
    NULL,                              /* init process */
    NULL,                              /* init thread */
    NULL,                              /* exit thread */
    NULL,                              /* exit process */
    NULL,                              /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_str_t  ngx_http_connection_original_dst =
    ngx_string("connection_original_dst");


/*
 * Ours is changeable so that a module which comes later and defines the
 * variable too is not refused.
 */

static ngx_int_t
ngx_http_connection_original_dst_define(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    if (ngx_http_connection_original_dst_find(cf)) {
        return NGX_OK;
    }

    var = ngx_http_add_variable(cf, &ngx_http_connection_original_dst,
                                NGX_HTTP_VAR_CHANGEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_connection_original_dst_variable;

    return NGX_OK;
}


/*
 * By now everybody has defined what they define, and nginx has not yet given
 * the handlers to the variables in use.  The flag of the others is taken back:
 * a value that is cached with the connection can be cached with the request.
 */

static ngx_int_t
ngx_http_connection_original_dst_take(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    var = ngx_http_connection_original_dst_find(cf);

    if (var) {
        var->get_handler = ngx_http_connection_original_dst_variable;
        var->data = 0;
        var->flags &= ~(NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_WEAK);
    }

    return NGX_OK;
}


static ngx_http_variable_t *
ngx_http_connection_original_dst_find(ngx_conf_t *cf)
{
    ngx_str_t                  *name;
    ngx_uint_t                  i;
    ngx_hash_key_t             *key;
    ngx_http_core_main_conf_t  *cmcf;

    name = &ngx_http_connection_original_dst;
    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        if (key[i].key.len == name->len
            && ngx_strncmp(key[i].key.data, name->data, name->len) == 0)
        {
            return key[i].value;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_connection_original_dst_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t  *value;

    value = ngx_connection_original_dst(r->connection);
    if (value == NULL) {
        return NGX_ERROR;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = value->len;
    v->data = value->data;

    return NGX_OK;
}
