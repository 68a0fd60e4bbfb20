--- A provider as a worker of APISIX has it, for the tests: stand-ins around it, a real timer in it.

local new_mesh = require("provider_mesh").new

local assert = assert
local error = error
local ipairs = ipairs
local ngx = ngx
local package = package
local pcall = pcall
local require = require
local tostring = tostring

local FRESH = {
    "apisix.core.config_local", "apisix.core.config_util", "apisix.core.config_xds",
    "apisix.core.config_xds.directory", "apisix.core.json", "apisix.core.log", "apisix.core.schema",
}

local _M = {}


function _M.same(got, wanted)
    if got ~= wanted then
        error("got " .. tostring(got) .. ", wanted " .. tostring(wanted), 2)
    end
end


--- A provider as a new worker has it, with the stand-ins it uses. `prepare` is called before it loads.
function _M.worker(mesh, prepare)
    for _, name in ipairs(FRESH) do
        package.loaded[name] = nil
    end
    package.loaded["resty.apisix_mesh"] = mesh
    local this = {
        json = require("apisix.core.json"),
        log = require("apisix.core.log"),
        util = require("apisix.core.config_util"),
        yaml = require("apisix.core.config_local"),
    }
    if prepare then
        prepare(this)
    end
    local ok, config = pcall(require, "apisix.core.config_xds")
    _G.ngx = ngx
    this.config = assert(ok and config, config)
    return this
end


--- The same with a mesh of some objects, its timer running, and an object for /routes.
function _M.routes(objects, options, prepare)
    local mesh = new_mesh()
    mesh.commit(objects)
    local this = _M.worker(mesh, prepare)
    this.mesh = mesh
    assert(this.config.init_worker())
    options = options or {}
    options.automatic = true
    this.routes = this.config.new("/routes", options)
    return this
end


--- How many errors were logged, with this in them.
function _M.errors(this, part)
    local count = 0
    for _, line in ipairs(this.log.lines) do
        if line:find("^error") and line:find(part or "", 1, true) then
            count = count + 1
        end
    end
    return count
end


--- The ids in the array, in its order, holes left out.
function _M.ids(object)
    local list = {}
    for _, item in ipairs(object.values) do
        if item then
            list[#list + 1] = item.value.id
            _M.same(object:get(item.value.id), item)
        end
    end
    return table.concat(list, " ")
end


--- Commits, and waits until the provider is through with it.
function _M.commit(this, changes)
    local revision = this.mesh.commit(changes)
    this.mesh.settle()
    return revision
end


return _M
