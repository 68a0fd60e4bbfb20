// A program in C++ against the installed library. In: the library's version. Out: exit code 0 when it is that one.

#include <apisix_mesh.h>
#include <apisix_mesh.h>

#include <memory>
#include <string_view>
#include <type_traits>

namespace {

struct FreeList {
    void operator()(apisix_mesh_list *list) const { apisix_mesh_list_free(list); }
};

using List = std::unique_ptr<apisix_mesh_list, FreeList>;

static_assert(std::is_standard_layout_v<apisix_mesh_item>);

}  // namespace

int main(int argc, char **argv)
{
    if (argc != 2 || apisix_mesh_version() != std::string_view(argv[1])
        || apisix_mesh_abi_version() != APISIX_MESH_ABI_VERSION) {
        return 1;
    }

    apisix_mesh_set_log([](void *, apisix_mesh_log_level, const char *, size_t) {}, nullptr);

    apisix_mesh *mesh = nullptr;
    if (apisix_mesh_running(&mesh) != APISIX_MESH_RESULT_NOT_RUNNING) {
        return 1;
    }

    apisix_mesh_list *raw = nullptr;
    if (apisix_mesh_list_new(mesh, "/", 1, &raw) != APISIX_MESH_RESULT_NOT_RUNNING) {
        return 1;
    }

    const List list(raw);
    const apisix_mesh_buffer last = apisix_mesh_last_error();

    return apisix_mesh_list_len(list.get()) == 0 && !std::string_view(last.data, last.len).empty() ? 0 : 1;
}
