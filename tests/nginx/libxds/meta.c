
/*
 * The functions for dictionaries under the names of APISIX's runtime.  They
 * pass on to those of lua-nginx-module, and write down which was called.
 */


#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <stdlib.h>


typedef int (*store_pt)(void *zone, int op, const unsigned char *key,
    size_t key_len, int type, const unsigned char *value, size_t len,
    double number, long exptime, int flags, char **err, int *forcible);
typedef int (*get_pt)(void *zone, const unsigned char *key, size_t key_len,
    int *type, unsigned char **value, size_t *len, double *number, int *flags,
    int get_stale, int *is_stale, char **err);


static void *
common(const char *symbol, const char *name)
{
    int  fd;

    fd = open(CALLS, O_WRONLY|O_APPEND|O_CREAT, 0644);

    if (fd == -1 || write(fd, name, strlen(name)) == -1) {
        abort();
    }

    close(fd);

    return dlsym(RTLD_DEFAULT, symbol);
}


int
ngx_meta_lua_ffi_shdict_store(void *zone, int op, const unsigned char *key,
    size_t key_len, int type, const unsigned char *value, size_t len,
    double number, long exptime, int flags, char **err, int *forcible)
{
    store_pt  store = (store_pt) common("ngx_http_lua_ffi_shdict_store",
                                        "store\n");

    return store(zone, op, key, key_len, type, value, len, number, exptime,
                 flags, err, forcible);
}


int
ngx_meta_lua_ffi_shdict_get(void *zone, const unsigned char *key,
    size_t key_len, int *type, unsigned char **value, size_t *len,
    double *number, int *flags, int get_stale, int *is_stale, char **err)
{
    get_pt  get = (get_pt) common("ngx_http_lua_ffi_shdict_get", "get\n");

    return get(zone, key, key_len, type, value, len, number, flags, get_stale,
               is_stale, err);
}
