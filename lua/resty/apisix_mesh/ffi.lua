--- Finds the library and declares its C API to LuaJIT.
--
-- In: nothing. Out: the module table is `{lib = <C namespace>}`; loading fails with a clear error
-- when the library is missing or speaks another version of the interface. Nothing is started here.
--
-- The declarations are those of include/apisix_mesh.h without comments and preprocessor lines;
-- tests/lua_binding.rs fails when the two differ.

local ffi = require("ffi")

local error = error
local ipairs = ipairs
local package = package
local pcall = pcall
local concat = table.concat
local gmatch = string.gmatch
local match = string.match

-- The version of the interface that this file is written for: APISIX_MESH_ABI_VERSION.
local ABI_VERSION = 1

local LIBRARY = "libapisix_mesh.so"

-- A second declaration of the same names is an error, and every Lua VM of a process shares them.
if not pcall(ffi.typeof, "apisix_mesh_buffer") then
    ffi.cdef[[
typedef enum {
  APISIX_MESH_RESULT_OK = 0,
  APISIX_MESH_RESULT_ARGUMENT = 1,
  APISIX_MESH_RESULT_CONFIG = 2,
  APISIX_MESH_RESULT_LISTEN = 3,
  APISIX_MESH_RESULT_SYSTEM = 4,
  APISIX_MESH_RESULT_ALREADY_RUNNING = 5,
  APISIX_MESH_RESULT_NOT_RUNNING = 6,
  APISIX_MESH_RESULT_FORKED = 7,
  APISIX_MESH_RESULT_NOT_READY = 8,
  APISIX_MESH_RESULT_NOT_FOUND = 9,
  APISIX_MESH_RESULT_PANIC = 10,
  APISIX_MESH_RESULT_COMPACTED = 11,
} apisix_mesh_result;
typedef enum {
  APISIX_MESH_LOG_LEVEL_ERROR = 0,
  APISIX_MESH_LOG_LEVEL_WARN = 1,
  APISIX_MESH_LOG_LEVEL_INFO = 2,
  APISIX_MESH_LOG_LEVEL_DEBUG = 3,
} apisix_mesh_log_level;
typedef struct apisix_mesh_list apisix_mesh_list;
typedef struct apisix_mesh apisix_mesh;
typedef struct apisix_mesh_config apisix_mesh_config;
typedef struct {
  const char *data;
  size_t len;
} apisix_mesh_buffer;
typedef void (*apisix_mesh_log_fn)(void *data, apisix_mesh_log_level level, const char *text,
    size_t len);
typedef struct {
  const char *key;
  size_t key_len;
  const char *value;
  size_t value_len;
  int64_t create_revision;
  int64_t mod_revision;
} apisix_mesh_item;
uint32_t apisix_mesh_abi_version(void);
const char *apisix_mesh_version(void);
apisix_mesh_result apisix_mesh_config_check(const char *config, size_t config_len);
apisix_mesh_config *apisix_mesh_config_new(void);
apisix_mesh_result apisix_mesh_config_set(apisix_mesh_config *config, const char *name,
    size_t name_len, const char *value, size_t value_len);
apisix_mesh_result apisix_mesh_config_text(const apisix_mesh_config *config,
    apisix_mesh_buffer *json);
void apisix_mesh_config_free(apisix_mesh_config *config);
apisix_mesh_result apisix_mesh_listen(const char *config, size_t config_len, int *fd);
void apisix_mesh_set_log(apisix_mesh_log_fn log, void *data);
apisix_mesh_result apisix_mesh_start(const char *config, size_t config_len, apisix_mesh **mesh);
apisix_mesh_result apisix_mesh_follow(const char *config, size_t config_len,
    apisix_mesh **mesh);
apisix_mesh_result apisix_mesh_running(apisix_mesh **mesh);
apisix_mesh_result apisix_mesh_stop(apisix_mesh *mesh);
apisix_mesh_result apisix_mesh_get(const apisix_mesh *mesh, const char *key, size_t key_len,
    apisix_mesh_buffer *value, int64_t *mod_revision);
apisix_mesh_result apisix_mesh_list_new(const apisix_mesh *mesh, const char *prefix,
    size_t prefix_len, apisix_mesh_list **list);
apisix_mesh_result apisix_mesh_changes_new(const apisix_mesh *mesh, int64_t after,
    apisix_mesh_list **list);
size_t apisix_mesh_list_len(const apisix_mesh_list *list);
int64_t apisix_mesh_list_revision(const apisix_mesh_list *list);
apisix_mesh_result apisix_mesh_list_get(const apisix_mesh_list *list, size_t index,
    apisix_mesh_item *item);
void apisix_mesh_list_free(apisix_mesh_list *list);
apisix_mesh_result apisix_mesh_revision(const apisix_mesh *mesh, int64_t *revision);
apisix_mesh_result apisix_mesh_wait(const apisix_mesh *mesh, int64_t after,
    uint32_t milliseconds, int64_t *revision);
apisix_mesh_result apisix_mesh_status(const apisix_mesh *mesh, apisix_mesh_buffer *json);
apisix_mesh_result apisix_mesh_metrics(const apisix_mesh *mesh, apisix_mesh_buffer *text);
void apisix_mesh_buffer_free(apisix_mesh_buffer *buffer);
apisix_mesh_buffer apisix_mesh_last_error(void);
]]
end


-- The nginx module brings the library into the process with its names visible: that copy comes
-- first, because only it knows the instance that the module started.
local function find_in_process()
    local found = pcall(function()
        return ffi.C.apisix_mesh_abi_version
    end)
    return found and ffi.C or nil
end


-- The folders of package.cpath, such as "/usr/lib/lua/?.so", then the system's own search.
local function candidates()
    local paths = {}
    for template in gmatch(package.cpath, "[^;]+") do
        local folder = match(template, "^(.*/)")
        if folder then
            paths[#paths + 1] = folder .. LIBRARY
        end
    end
    paths[#paths + 1] = LIBRARY
    return paths
end


local function load_library()
    local problems = {}
    for _, path in ipairs(candidates()) do
        local ok, lib = pcall(ffi.load, path)
        if ok then
            return lib
        end
        problems[#problems + 1] = "    " .. lib
    end
    error(LIBRARY .. " cannot be loaded; put its folder into lua_package_cpath, as \"/folder/?.so\""
          .. ":\n" .. concat(problems, "\n"), 0)
end


local function check_version(lib)
    local ok, version = pcall(function()
        return lib.apisix_mesh_abi_version()
    end)
    if not ok then
        error(LIBRARY .. " is not the library of apisix-mesh: " .. version, 0)
    end
    if version ~= ABI_VERSION then
        error(LIBRARY .. " has interface version " .. version .. ", resty.apisix_mesh needs "
              .. ABI_VERSION .. "; install both from the same release", 0)
    end
end


local lib = find_in_process() or load_library()
check_version(lib)

return {lib = lib}
