
/*
 * Reads the block "apisix_mesh", and writes it as the library takes it.
 *
 *     apisix_mesh {
 *         xds          grpc://127.0.0.1:15010;
 *         etcd_listen  127.0.0.1:2379;
 *     }
 *
 * Every line is a setting of the library, which alone knows what settings there
 * are.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_apisix_mesh_conf.h>


static char *ngx_apisix_mesh_setting(ngx_conf_t *cf, ngx_command_t *dummy,
    void *data);
static ngx_keyval_t *ngx_apisix_mesh_find(ngx_apisix_mesh_conf_t *mcf,
    ngx_str_t *name);


char *
ngx_apisix_mesh_block(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    char                *rv;
    ngx_conf_t           save;
    apisix_mesh_buffer   text, error;

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

    if (ngx_apisix_mesh_text(mcf, (ngx_socket_t) -1, &text)
        != APISIX_MESH_RESULT_OK)
    {
        error = apisix_mesh_last_error();

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "apisix_mesh: %*s",
                           error.len, error.data);
        return NGX_CONF_ERROR;
    }

    apisix_mesh_buffer_free(&text);

    return NGX_CONF_OK;
}


static char *
ngx_apisix_mesh_setting(ngx_conf_t *cf, ngx_command_t *dummy, void *data)
{
    ngx_apisix_mesh_conf_t *mcf = data;

    ngx_str_t     *value;
    ngx_keyval_t  *kv;

    value = cf->args->elts;

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in setting \"%V\" "
                           "of \"apisix_mesh\", it takes one value",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    if (ngx_apisix_mesh_find(mcf, &value[0])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "setting \"%V\" of \"apisix_mesh\" is duplicate",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    kv = ngx_array_push(mcf->settings);
    if (kv == NULL) {
        return NGX_CONF_ERROR;
    }

    kv->key = value[0];
    kv->value = value[1];

    return NGX_CONF_OK;
}


apisix_mesh_result
ngx_apisix_mesh_text(ngx_apisix_mesh_conf_t *mcf, ngx_socket_t fd,
    apisix_mesh_buffer *text)
{
    u_char               buf[sizeof("fd:") + NGX_INT_T_LEN];
    size_t               len;
    ngx_uint_t           i;
    ngx_keyval_t        *kv;
    apisix_mesh_config  *config;
    apisix_mesh_result   rc;

    config = apisix_mesh_config_new();

    rc = APISIX_MESH_RESULT_OK;
    kv = mcf->settings->elts;

    for (i = 0; i < mcf->settings->nelts && rc == APISIX_MESH_RESULT_OK; i++) {
        rc = apisix_mesh_config_set(config,
                                    (char *) kv[i].key.data, kv[i].key.len,
                                    (char *) kv[i].value.data, kv[i].value.len);
    }

    if (rc == APISIX_MESH_RESULT_OK && fd != (ngx_socket_t) -1) {
        len = ngx_sprintf(buf, "fd:%d", (int) fd) - buf;

        rc = apisix_mesh_config_set(config, "etcd_listen",
                                    sizeof("etcd_listen") - 1,
                                    (char *) buf, len);
    }

    if (rc == APISIX_MESH_RESULT_OK) {
        rc = apisix_mesh_config_text(config, text);
    }

    apisix_mesh_config_free(config);

    return rc;
}


ngx_uint_t
ngx_apisix_mesh_listens(ngx_apisix_mesh_conf_t *mcf)
{
    ngx_str_t  *value;

    value = ngx_apisix_mesh_value(mcf, "etcd_listen");

    return value->len != sizeof("off") - 1
           || ngx_strncmp(value->data, "off", sizeof("off") - 1) != 0;
}


ngx_int_t
ngx_apisix_mesh_directory(ngx_cycle_t *cycle, ngx_apisix_mesh_conf_t *mcf)
{
    size_t            len;
    u_char           *p;
    ngx_str_t        *value;
    ngx_path_t       *path, **element;
    ngx_keyval_t     *kv;
    ngx_core_conf_t  *ccf;

    value = ngx_apisix_mesh_value(mcf, "state_dir");

    if (value->len == 0) {
        ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                               ngx_core_module);

        kv = ngx_array_push(mcf->settings);
        if (kv == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&kv->key, "state_dir");
        value = &kv->value;

        len = ccf->pid.len + sizeof(".apisix_mesh");

        value->data = ngx_pnalloc(cycle->pool, len);
        if (value->data == NULL) {
            return NGX_ERROR;
        }

        p = ngx_sprintf(value->data, "%V.apisix_mesh%Z", &ccf->pid);
        value->len = p - value->data - 1;
    }

    if (ngx_conf_full_name(cycle, value, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    path = ngx_pcalloc(cycle->pool, sizeof(ngx_path_t));
    if (path == NULL) {
        return NGX_ERROR;
    }

    path->name = *value;

    element = ngx_array_push(&cycle->paths);
    if (element == NULL) {
        return NGX_ERROR;
    }

    *element = path;

    return NGX_OK;
}


ngx_str_t *
ngx_apisix_mesh_value(ngx_apisix_mesh_conf_t *mcf, char *name)
{
    ngx_str_t      key;
    ngx_keyval_t  *kv;

    static ngx_str_t  by_default = ngx_null_string;

    key.data = (u_char *) name;
    key.len = ngx_strlen(name);

    kv = ngx_apisix_mesh_find(mcf, &key);

    return kv ? &kv->value : &by_default;
}


static ngx_keyval_t *
ngx_apisix_mesh_find(ngx_apisix_mesh_conf_t *mcf, ngx_str_t *name)
{
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    kv = mcf->settings->elts;

    for (i = 0; i < mcf->settings->nelts; i++) {
        if (kv[i].key.len == name->len
            && ngx_strncmp(kv[i].key.data, name->data, name->len) == 0)
        {
            return &kv[i];
        }
    }

    return NULL;
}
