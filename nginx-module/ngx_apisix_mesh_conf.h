
/*
 * The block "apisix_mesh" as it was read, and what belongs to it.
 */


#ifndef _NGX_APISIX_MESH_CONF_H_INCLUDED_
#define _NGX_APISIX_MESH_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#include <apisix_mesh.h>


typedef struct {
    ngx_array_t              *settings;   /* of ngx_keyval_t; NULL: no block */
    ngx_pool_t               *pool;
    ngx_socket_t              fd;
} ngx_apisix_mesh_conf_t;


/* handler of the directive; checks the settings, opens and starts nothing */
char *ngx_apisix_mesh_block(ngx_conf_t *cf, ngx_command_t *cmd, void *data);

/*
 * The settings as the library takes them, to be given back with
 * apisix_mesh_buffer_free.  With a descriptor, it is the value of
 * "etcd_listen", whatever that was.
 */
apisix_mesh_result ngx_apisix_mesh_text(ngx_apisix_mesh_conf_t *mcf,
    ngx_socket_t fd, apisix_mesh_buffer *text);

/* a setting as it is written; empty when it is not */
ngx_str_t *ngx_apisix_mesh_value(ngx_apisix_mesh_conf_t *mcf, char *name);

/* whether there is to be an etcd socket: not with "etcd_listen off" */
ngx_uint_t ngx_apisix_mesh_listens(ngx_apisix_mesh_conf_t *mcf);

/*
 * The directory that the processes share is made when the temporary folders
 * are, for the user of the workers.  By default it is beside the pid file, so
 * that each nginx has its own.
 */
ngx_int_t ngx_apisix_mesh_directory(ngx_cycle_t *cycle,
    ngx_apisix_mesh_conf_t *mcf);

/* opens the etcd socket, or takes the one that the binary before handed on */
ngx_int_t ngx_apisix_mesh_open(ngx_cycle_t *cycle, ngx_apisix_mesh_conf_t *mcf);

/*
 * The next binary (USR2) gets the socket and a variable that tells of it.  The
 * master may execute nothing else; its children close the socket when they do.
 */
ngx_int_t ngx_apisix_mesh_hand_on(ngx_cycle_t *cycle,
    ngx_apisix_mesh_conf_t *mcf);


#endif /* _NGX_APISIX_MESH_CONF_H_INCLUDED_ */
