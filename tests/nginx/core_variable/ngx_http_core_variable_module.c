
/*
 * For tests only: defines $connection_original_dst as patched cores do, not
 * changeable and not cacheable, with a text that cannot be mistaken.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static ngx_int_t ngx_http_core_variable_define(ngx_conf_t *cf);
static ngx_int_t ngx_http_core_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_module_t  ngx_http_core_variable_module_ctx = {
    ngx_http_core_variable_define,         /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_core_variable_module = {
    NGX_MODULE_V1,
    &ngx_http_core_variable_module_ctx,    /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_core_variable_define(ngx_conf_t *cf)
{
    ngx_str_t             name = ngx_string("connection_original_dst");
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_core_variable;
    var->flags = NGX_HTTP_VAR_NOCACHEABLE;

    return NGX_OK;
}


static ngx_int_t
ngx_http_core_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = sizeof("the core's") - 1;
    v->data = (u_char *) "the core's";

    return NGX_OK;
}
