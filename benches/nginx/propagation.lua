--- Two ways for a worker to take the configuration, one at a time: APISIX's own, and our provider.
--
-- In: the dictionaries that libxds.so writes; the library. Out: when this worker had which change, in `seen`. The stock way is what
-- APISIX's config_xds does: it looks at the version once a second, and then each directory lists all keys of the dictionary and
-- decodes its own.

local cjson = require("cjson.safe")
local ffi = require("ffi")
local mesh = require("resty.apisix_mesh")

local C = ffi.C
local ffi_load = ffi.load
local ipairs = ipairs
local math = math
local ngx = ngx
local tonumber = tonumber

local DIRECTORIES = {
    "/routes", "/services", "/upstreams", "/consumers", "/ssls", "/global_rules", "/plugin_configs", "/plugin_metadata",
    "/consumer_groups", "/protos", "/stream_routes", "/secrets", "/credentials",
}

ffi.cdef [[ void initial(void *config_zone, void *version_zone); ]]

local config, versions, seen = ngx.shared["xds-config"], ngx.shared["xds-config-version"], ngx.shared.seen

local _M = {}


-- The changing object has the number of the change as its port.
local function tell(way, object)
    local node = object and object.nodes and object.nodes[1]
    if node and node.host == "10.9.9.9" then
        ngx.update_time()
        seen:set(way .. " " .. ngx.worker.id() .. " " .. node.port, ngx.now())
    end
end


local function stock()
    local version
    -- The files are looked at once a second too: not in step with that.
    math.randomseed(ngx.worker.pid())
    ngx.sleep(math.random())
    while not ngx.worker.exiting() do
        ngx.sleep(1)
        if seen:get("way") == "stock" and versions:get("version") ~= version then
            version = versions:get("version")
            for _, directory in ipairs(DIRECTORIES) do
                for _, key in ipairs(config:get_keys(0)) do
                    if key:sub(1, #directory + 1) == directory .. "/" then
                        tell("stock", cjson.decode(config:get(key)))
                    end
                end
            end
        end
    end
end


local function ours()
    while seen:get("way") ~= "ours" do
        ngx.sleep(0.1)
    end
    local provider = require("apisix.core.config_xds")
    provider.init_worker()
    for _, directory in ipairs(DIRECTORIES) do
        provider.new(directory, {automatic = true, filter = function(item)
            tell("ours", item.value)
        end})
    end
end


-- The first worker that has a revision says when.
local function watch()
    local last
    while not ngx.worker.exiting() do
        local revision = mesh.revision()
        if revision ~= last then
            ngx.update_time()
            seen:add("revision " .. tonumber(revision or 0), ngx.now())
            last = revision
        end
        ngx.sleep(0.001)
    end
end


function _M.start(library)
    if ngx.worker.id() == 0 then
        local zone = C.ngx_http_lua_ffi_shdict_udata_to_zone
        ffi_load(library).initial(zone(config[1]), zone(versions[1]))
        ngx.timer.at(0, watch)
    end
    ngx.timer.at(0, stock)
    ngx.timer.at(0, ours)
end


return _M
