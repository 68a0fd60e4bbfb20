--- What APISIX's `config_xds` does with its two dictionaries: it waits for a first version, looks for another one all the
-- time, and then reads all keys.
--
-- In: the dictionaries. Out: each version that this worker saw, with what it found, as an array of JSON in `seen` under its process id. It looks
-- more often than APISIX does, and reads all directories at once.

local cjson = require("cjson.safe")
local ffi = require("ffi")

local C = ffi.C
local error = error
local ffi_load = ffi.load
local ipairs = ipairs
local math = math
local ngx = ngx
local pairs = pairs

local LOOK_SECONDS = 0.002

ffi.cdef [[
void initial(void *config_zone, void *version_zone);
int usleep(unsigned int microseconds);
]]

local config, versions, seen = ngx.shared["xds-config"], ngx.shared["xds-config-version"], ngx.shared.seen
local latest
local history = {}

local _M = {}


local function zone(dictionary)
    return dictionary and C.ngx_http_lua_ffi_shdict_udata_to_zone(dictionary[1])
end


-- As the privileged agent does it: in one process, on nginx's thread.
function _M.load(library)
    _M.initial(library, config, versions)
end


function _M.initial(library, config_dictionary, version_dictionary)
    ffi_load(library).initial(zone(config_dictionary), zone(version_dictionary))
end


local function objects()
    local found, others, count = {}, 0, 0
    for _, key in ipairs(config:get_keys(0)) do
        count = count + 1
        local value = config:get(key)
        if key:sub(1, 1) ~= "/" then
            others = others + 1
        elseif value then
            found[key] = cjson.decode(value) or error(key .. " is not JSON: " .. value)
        end
    end
    return found, count, others
end


-- The tests write the number of a change into the port of each endpoint.
local function look()
    local version = versions:get("version")
    if version == latest then
        return
    end
    latest = version
    local found, count = objects()
    local line = {version = version, keys = count, upstreams = 0, lowest = 1e9, highest = 0}
    for key, object in pairs(found) do
        if key:sub(1, 11) == "/upstreams/" then
            local port = object.nodes[1].port
            line.upstreams = line.upstreams + 1
            line.lowest = math.min(line.lowest, port)
            line.highest = math.max(line.highest, port)
        end
    end
    history[#history + 1] = line
    seen:set(ngx.worker.pid(), cjson.encode(history))
end


-- Blocks until there is a version, as APISIX does.
function _M.start()
    while not versions:get("version") do
        C.usleep(1000)
    end
    look()
    ngx.timer.every(LOOK_SECONDS, look)
end


-- What is in the dictionaries, and what each worker saw.
function _M.tell()
    local found, _, others = objects()
    local histories = {}
    for _, pid in ipairs(seen:get_keys(0)) do
        histories[pid] = cjson.decode(seen:get(pid))
    end
    ngx.say(cjson.encode({
        version = versions:get("version"),
        objects = found,
        others = others,
        owner = versions:get("!owner"),
        histories = histories,
    }))
end


return _M
