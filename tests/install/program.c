/* A program in C against the installed library. In: the library's version. Out: exit code 0 when it is that one. */

#include <apisix_mesh.h>
#include <apisix_mesh.h>

#include <string.h>


int
main(int argc, char **argv)
{
    apisix_mesh_buffer  last;

    if (argc != 2 || strcmp(apisix_mesh_version(), argv[1]) != 0
        || apisix_mesh_abi_version() != APISIX_MESH_ABI_VERSION)
    {
        return 1;
    }

    if (apisix_mesh_config_check("{\"speed\": 1}", 12) != APISIX_MESH_RESULT_CONFIG) {
        return 1;
    }

    last = apisix_mesh_last_error();

    return last.len > 0 && last.data != NULL ? 0 : 1;
}
