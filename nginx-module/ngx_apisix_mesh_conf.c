
/*
 * Reads the block "apisix_mesh", and writes it as the library takes it.
 *
 *     apisix_mesh {
 *         xds          grpc://127.0.0.1:15010;
 *         etcd_listen  127.0.0.1:2379;
 *     }
 *
 * Every line is a setting of the library, handed to it as a member of a JSON
 * object; the library alone knows what settings there are.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_apisix_mesh_conf.h>

#include <apisix_mesh.h>


static char *ngx_apisix_mesh_setting(ngx_conf_t *cf, ngx_command_t *dummy,
    void *data);
static u_char *ngx_apisix_mesh_json_string(u_char *p, ngx_str_t *s);


char *
ngx_apisix_mesh_block(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    char                *rv;
    ngx_str_t            json;
    ngx_conf_t           save;
    apisix_mesh_buffer   error;

    if (mcf->settings) {
        return "is duplicate";
    }

    if (apisix_mesh_abi_version() != APISIX_MESH_ABI_VERSION) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "libapisix_mesh %s has interface version %uD, "
                           "this module was built for %d",
                           apisix_mesh_version(), apisix_mesh_abi_version(),
                           APISIX_MESH_ABI_VERSION);
        return NGX_CONF_ERROR;
    }

    mcf->settings = ngx_array_create(cf->pool, 8, sizeof(ngx_keyval_t));
    if (mcf->settings == NULL) {
        return NGX_CONF_ERROR;
    }

    save = *cf;
    cf->handler = ngx_apisix_mesh_setting;
    cf->handler_conf = data;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_apisix_mesh_json(mcf, (ngx_socket_t) -1, &json) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (apisix_mesh_config_check((char *) json.data, json.len)
        != APISIX_MESH_RESULT_OK)
    {
        error = apisix_mesh_last_error();

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "apisix_mesh: %*s",
                           error.len, error.data);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_apisix_mesh_setting(ngx_conf_t *cf, ngx_command_t *dummy, void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    ngx_str_t     *value;
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    value = cf->args->elts;

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in setting \"%V\" "
                           "of \"apisix_mesh\", it takes one value",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    kv = mcf->settings->elts;

    for (i = 0; i < mcf->settings->nelts; i++) {
        if (kv[i].key.len == value[0].len
            && ngx_strncmp(kv[i].key.data, value[0].data, value[0].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "setting \"%V\" of \"apisix_mesh\" is duplicate",
                               &value[0]);
            return NGX_CONF_ERROR;
        }
    }

    kv = ngx_array_push(mcf->settings);
    if (kv == NULL) {
        return NGX_CONF_ERROR;
    }

    kv->key = value[0];
    kv->value = value[1];

    return NGX_CONF_OK;
}


ngx_int_t
ngx_apisix_mesh_json(ngx_apisix_mesh_conf_t *mcf, ngx_socket_t fd,
    ngx_str_t *json)
{
    u_char        *p, buf[sizeof("fd:") + NGX_INT_T_LEN];
    size_t         len;
    ngx_str_t      listen, inherited;
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    ngx_str_set(&listen, "etcd_listen");

    inherited.data = buf;
    inherited.len = ngx_sprintf(buf, "fd:%d", (int) fd) - buf;

    /* a byte becomes six at most, "\u001f"; the rest is quotes and signs */

    len = sizeof("{\"etcd_listen\":\"\"}") + sizeof(buf);
    kv = mcf->settings->elts;

    for (i = 0; i < mcf->settings->nelts; i++) {
        len += 6 * (kv[i].key.len + kv[i].value.len) + sizeof("\"\":\"\",");
    }

    json->data = ngx_pnalloc(mcf->pool, len);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    p = json->data;
    *p++ = '{';

    for (i = 0; i < mcf->settings->nelts; i++) {
        if (fd != (ngx_socket_t) -1
            && kv[i].key.len == listen.len
            && ngx_strncmp(kv[i].key.data, listen.data, listen.len) == 0)
        {
            continue;
        }

        p = ngx_apisix_mesh_json_string(p, &kv[i].key);
        *p++ = ':';
        p = ngx_apisix_mesh_json_string(p, &kv[i].value);
        *p++ = ',';
    }

    if (fd != (ngx_socket_t) -1) {
        p = ngx_apisix_mesh_json_string(p, &listen);
        *p++ = ':';
        p = ngx_apisix_mesh_json_string(p, &inherited);
        *p++ = ',';
    }

    if (p[-1] == ',') {
        p--;
    }

    *p++ = '}';

    json->len = p - json->data;

    return NGX_OK;
}


static u_char *
ngx_apisix_mesh_json_string(u_char *p, ngx_str_t *s)
{
    *p++ = '"';
    p = (u_char *) ngx_escape_json(p, s->data, s->len);
    *p++ = '"';

    return p;
}


ngx_str_t *
ngx_apisix_mesh_value(ngx_apisix_mesh_conf_t *mcf, char *name)
{
    size_t         len;
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    static ngx_str_t  by_default = ngx_null_string;

    len = ngx_strlen(name);
    kv = mcf->settings->elts;

    for (i = 0; i < mcf->settings->nelts; i++) {
        if (kv[i].key.len == len
            && ngx_strncmp(kv[i].key.data, name, len) == 0)
        {
            return &kv[i].value;
        }
    }

    return &by_default;
}
