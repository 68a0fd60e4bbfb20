--- The mesh library from Lua: what the control plane wants, as APISIX objects.
--
-- In: settings for `start`, keys and prefixes for queries. Out: JSON text; decoding is left to the
-- caller. All functions act on the one instance of this nginx process, whoever started it: the
-- nginx module (directive in nginx.conf) or `start`. Nothing is remembered here between calls.
--
-- A function that fails returns `nil, err, code`: `err` is one line of text, `code` one of
-- `_M.codes`. No call waits for the network, so all may be made in any phase of a request.

local binding = require("resty.apisix_mesh.ffi")
local cjson = require("cjson.safe")
local ffi = require("ffi")

local lib = binding.lib
local ffi_gc = ffi.gc
local ffi_new = ffi.new
local ffi_string = ffi.string
local tonumber = tonumber
local type = type

local OK = tonumber(lib.APISIX_MESH_RESULT_OK)

local _M = {
    version = ffi_string(lib.apisix_mesh_version()),
    codes = {
        ARGUMENT = tonumber(lib.APISIX_MESH_RESULT_ARGUMENT),
        CONFIG = tonumber(lib.APISIX_MESH_RESULT_CONFIG),
        LISTEN = tonumber(lib.APISIX_MESH_RESULT_LISTEN),
        SYSTEM = tonumber(lib.APISIX_MESH_RESULT_SYSTEM),
        ALREADY_RUNNING = tonumber(lib.APISIX_MESH_RESULT_ALREADY_RUNNING),
        NOT_RUNNING = tonumber(lib.APISIX_MESH_RESULT_NOT_RUNNING),
        FORKED = tonumber(lib.APISIX_MESH_RESULT_FORKED),
        NOT_READY = tonumber(lib.APISIX_MESH_RESULT_NOT_READY),
        NOT_FOUND = tonumber(lib.APISIX_MESH_RESULT_NOT_FOUND),
        PANIC = tonumber(lib.APISIX_MESH_RESULT_PANIC),
        COMPACTED = tonumber(lib.APISIX_MESH_RESULT_COMPACTED),
    },
}


-- What calls fill. One of each is enough: no call yields, and what it filled is read before the
-- next. Making them anew, the buffer with its finalizer above all, would cost more than a query.
local mesh_out = ffi_new("apisix_mesh *[1]")
local list_out = ffi_new("apisix_mesh_list *[1]")
local revision_out = ffi_new("int64_t[1]")
local buffer_out = ffi_gc(ffi_new("apisix_mesh_buffer"), lib.apisix_mesh_buffer_free)


local function failure(result)
    local text = lib.apisix_mesh_last_error()
    local err = text.len > 0 and ffi_string(text.data, text.len) or "the library gave no reason"
    return nil, err, tonumber(result)
end


local function wrong_argument(err)
    return nil, err, _M.codes.ARGUMENT
end


-- The instance of this process. A handle is never kept: it dies with `stop`, which anyone may
-- call.
local function running()
    local result = lib.apisix_mesh_running(mesh_out)
    if tonumber(result) ~= OK then
        return failure(result)
    end
    return mesh_out[0]
end


-- The buffer to fill. It is empty, unless the string could not be made of what it held.
local function empty_buffer()
    if buffer_out.len > 0 then
        lib.apisix_mesh_buffer_free(buffer_out)
    end
    return buffer_out
end


local function take_text()
    local text = ffi_string(buffer_out.data, buffer_out.len)
    lib.apisix_mesh_buffer_free(buffer_out)
    return text
end


local function run(start, config)
    local text = config
    if type(config) == "table" then
        local err
        text, err = cjson.encode(config)
        if not text then
            return wrong_argument("config: " .. err)
        end
    elseif type(config) ~= "string" then
        return wrong_argument("config: a table or text is needed, not " .. type(config))
    end

    local result = start(text, #text, mesh_out)
    if tonumber(result) ~= OK then
        return failure(result)
    end
    return true
end


--- Starts the library in this nginx process, after the fork: in init_worker_by_lua. Not needed with
-- the nginx module.
-- @param config  table of settings, such as `{xds = "grpc://127.0.0.1:15010"}`, or the same as JSON
--                or YAML text
-- @return        true when the settings are good and the etcd endpoint listens; the first
--                configuration comes later (see `revision`)
function _M.start(config)
    return run(lib.apisix_mesh_start, config)
end


--- Makes this process answer queries from what the host in another process of the machine serves, by
-- the same settings, of which `state_dir` must be there. Not needed with the nginx module.
-- @param config  as for `start`
-- @return        true; the first configuration comes later (see `revision`)
function _M.follow(config)
    return run(lib.apisix_mesh_follow, config)
end


--- Stops the instance of this process, for everybody in it.
-- @return  true
function _M.stop()
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end

    local result = lib.apisix_mesh_stop(mesh)
    if tonumber(result) ~= OK then
        return failure(result)
    end
    return true
end


--- One object.
-- @param key  such as "/routes/4f1c..." or "/upstreams/..."
-- @return     the object as JSON text
-- @return     the revision of its last change
function _M.get(key)
    if type(key) ~= "string" then
        return wrong_argument("key: text is needed, not " .. type(key))
    end
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end

    local result = lib.apisix_mesh_get(mesh, key, #key, empty_buffer(), revision_out)
    if tonumber(result) ~= OK then
        return failure(result)
    end
    local mod_revision = tonumber(revision_out[0])
    return take_text(), mod_revision
end


local function items(list)
    local array = {}
    local item = ffi_new("apisix_mesh_item")
    for index = 0, tonumber(lib.apisix_mesh_list_len(list)) - 1 do
        local result = lib.apisix_mesh_list_get(list, index, item)
        if tonumber(result) ~= OK then
            return failure(result)
        end
        array[index + 1] = {
            key = ffi_string(item.key, item.key_len),
            value = item.value ~= nil and ffi_string(item.value, item.value_len) or nil,
            create_revision = tonumber(item.create_revision),
            mod_revision = tonumber(item.mod_revision),
        }
    end
    return array
end


-- The items and the revision of the list that a call made; it is given back.
local function take_list(result)
    if tonumber(result) ~= OK then
        return failure(result)
    end

    local list = list_out[0]
    local revision = tonumber(lib.apisix_mesh_list_revision(list))
    if lib.apisix_mesh_list_len(list) == 0 then
        lib.apisix_mesh_list_free(list)
        return {}, revision
    end

    ffi_gc(list, lib.apisix_mesh_list_free)
    local array, err, code = items(list)
    lib.apisix_mesh_list_free(ffi_gc(list, nil))
    if not array then
        return nil, err, code
    end
    return array, revision
end


--- All objects whose key starts with a prefix, as they were at one revision.
-- @param prefix  such as "/routes/"; "" or nil lists everything
-- @return        array of `{key = "/routes/...", value = <JSON text>, create_revision = n,
--                mod_revision = n}`, sorted by key
-- @return        that revision
function _M.list(prefix)
    prefix = prefix or ""
    if type(prefix) ~= "string" then
        return wrong_argument("prefix: text is needed, not " .. type(prefix))
    end
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end
    return take_list(lib.apisix_mesh_list_new(mesh, prefix, #prefix, list_out))
end


--- What has become of each object that changed after a revision.
-- @param after  a revision, as `list` and this function give it
-- @return       array as that of `list`; those that are gone have no `value`, and 0 as
--               `create_revision`
-- @return       the revision to ask with next
function _M.changes(after)
    if type(after) ~= "number" then
        return wrong_argument("after: a number is needed, not " .. type(after))
    end
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end
    return take_list(lib.apisix_mesh_changes_new(mesh, after, list_out))
end


--- The present revision. It rises with every change, so comparing it is a cheap test for news.
-- @return  a whole number; 0 until the first configuration has come
function _M.revision()
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end

    local result = lib.apisix_mesh_revision(mesh, revision_out)
    if tonumber(result) ~= OK then
        return failure(result)
    end
    return tonumber(revision_out[0])
end


-- The text that `ask(mesh, buffer)` makes.
local function text_of(ask)
    local mesh, err, code = running()
    if not mesh then
        return nil, err, code
    end

    local result = ask(mesh, empty_buffer())
    if tonumber(result) ~= OK then
        return failure(result)
    end
    return take_text()
end


--- What the library knows of itself.
-- @return  JSON text: an object with `role`, `ready`, `revision`, `objects`, and in the host `etcd`, `xds`
--          and `issues` (what the control plane asked for and APISIX cannot do)
function _M.status()
    return text_of(lib.apisix_mesh_status)
end


--- The same for a monitoring system.
-- @return  Prometheus' text format
function _M.metrics()
    return text_of(lib.apisix_mesh_metrics)
end


return _M
