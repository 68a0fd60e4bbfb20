
/*
 * The block "apisix_mesh" as it was read, and what belongs to it.
 */


#ifndef _NGX_APISIX_MESH_CONF_H_INCLUDED_
#define _NGX_APISIX_MESH_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    ngx_array_t              *settings;   /* of ngx_keyval_t; NULL: no block */
    ngx_pool_t               *pool;
    ngx_socket_t              fd;
} ngx_apisix_mesh_conf_t;


/* handler of the directive; checks the settings, opens and starts nothing */
char *ngx_apisix_mesh_block(ngx_conf_t *cf, ngx_command_t *cmd, void *data);

/*
 * The settings as the library takes them, from the configuration's pool.  With
 * a descriptor, it is the value of "etcd_listen", whatever that was.
 */
ngx_int_t ngx_apisix_mesh_json(ngx_apisix_mesh_conf_t *mcf, ngx_socket_t fd,
    ngx_str_t *json);

/* a setting as it is written; empty when it is not */
ngx_str_t *ngx_apisix_mesh_value(ngx_apisix_mesh_conf_t *mcf, char *name);


#endif /* _NGX_APISIX_MESH_CONF_H_INCLUDED_ */
