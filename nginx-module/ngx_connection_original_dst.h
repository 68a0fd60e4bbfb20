
/*
 * The address a connection was made to before iptables redirected it here:
 * what the variables of the http and the stream module have in common.
 */


#ifndef _NGX_CONNECTION_ORIGINAL_DST_H_INCLUDED_
#define _NGX_CONNECTION_ORIGINAL_DST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * "ip:port" or "[ip]:port"; empty where the kernel knows no such address.
 * The kernel is asked once in the life of a connection, and the text lives as
 * long as the connection.  NULL: out of memory.
 */

ngx_str_t *ngx_connection_original_dst(ngx_connection_t *c);


#endif /* _NGX_CONNECTION_ORIGINAL_DST_H_INCLUDED_ */
