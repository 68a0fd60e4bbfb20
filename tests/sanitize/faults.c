/*
 * Faults on purpose, on memory of the library's. In: which one, "leak" or "read", and a configuration. The tool that
 * watches must tell of it; a tool that does not watches nothing.
 */

#include "apisix_mesh.h"

#include <stdio.h>
#include <string.h>


int
main(int argc, char **argv)
{
    const char          *data;
    apisix_mesh         *mesh;
    apisix_mesh_buffer   status;

    if (argc != 3
        || apisix_mesh_start(argv[2], strlen(argv[2]), &mesh) != APISIX_MESH_RESULT_OK
        || apisix_mesh_status(mesh, &status) != APISIX_MESH_RESULT_OK
        || apisix_mesh_stop(mesh) != APISIX_MESH_RESULT_OK)
    {
        return 2;
    }

    if (strcmp(argv[1], "read") == 0) {
        data = status.data;
        apisix_mesh_buffer_free(&status);
        putchar(*data);
    }

    memset(&status, 0, sizeof(status));

    return 0;
}
