--- What resty.apisix_mesh promises, told to a real library in a real nginx worker.
--
-- In: the URI of an xDS source with at least one route and one upstream. Out: TAP as the response.

local cjson = require("cjson.safe")
local tap = require("tap")

local collectgarbage = collectgarbage
local error = error
local ipairs = ipairs
local ngx = ngx
local pcall = pcall
local require = require
local tostring = tostring
local type = type

local FIRST_CONFIGURATION_SECONDS = 10

local _M = {}


local function same(got, wanted)
    if got ~= wanted then
        error("got " .. tostring(got) .. ", wanted " .. tostring(wanted), 2)
    end
end


local function is_error(code, _, err, got)
    same(type(err), "string")
    same(got, code)
end


local function cases(mesh, xds)
    return {
        {"before start every call says that nothing runs", function()
            is_error(mesh.codes.NOT_RUNNING, mesh.get("/routes/x"))
            is_error(mesh.codes.NOT_RUNNING, mesh.list("/"))
            is_error(mesh.codes.NOT_RUNNING, mesh.revision())
            is_error(mesh.codes.NOT_RUNNING, mesh.status())
            is_error(mesh.codes.NOT_RUNNING, mesh.stop())
        end},
        {"a value of the wrong type is an argument error", function()
            is_error(mesh.codes.ARGUMENT, mesh.start(1))
            is_error(mesh.codes.ARGUMENT, mesh.get(nil))
            is_error(mesh.codes.ARGUMENT, mesh.list({}))
        end},
        {"a bad setting is a configuration error", function()
            is_error(mesh.codes.CONFIG, mesh.start({no_such_setting = true}))
        end},
        {"a table of settings starts the library", function()
            local ok, err = mesh.start({xds = xds, etcd_listen = "127.0.0.1:0"})
            same(err, nil)
            same(ok, true)
        end},
        {"a second start is refused", function()
            is_error(mesh.codes.ALREADY_RUNNING, mesh.start({xds = xds}))
        end},
        {"the revision rises from 0 when the first configuration comes", function()
            for _ = 1, FIRST_CONFIGURATION_SECONDS * 20 do
                if mesh.revision() > 0 then
                    return
                end
                ngx.sleep(0.05)
            end
            error(tostring(mesh.status()))
        end},
        {"a list is sorted, holds JSON, and has one revision", function()
            local items, revision = mesh.list("/")
            same(type(revision), "number")
            local last = ""
            for _, item in ipairs(items) do
                same(item.key > last, true)
                same(type(cjson.decode(item.value)), "table")
                last = item.key
            end
            same(last ~= "", true)
        end},
        {"a prefix narrows the list", function()
            local routes, upstreams = mesh.list("/routes/"), mesh.list("/upstreams/")
            same(#routes > 0, true)
            same(#upstreams > 0, true)
            same(#routes + #upstreams, #mesh.list())
            same(#mesh.list("/no-such-directory/"), 0)
        end},
        {"get gives what the list gave", function()
            local item = mesh.list("/upstreams/")[1]
            local value, revision = mesh.get(item.key)
            same(value, item.value)
            same(revision, item.mod_revision)
        end},
        {"nothing has changed since the list, and too long ago is not known", function()
            local _, revision = mesh.list()
            local changes, next_revision = mesh.changes(revision)
            same(#changes, 0)
            same(next_revision, revision)
            is_error(mesh.codes.COMPACTED, mesh.changes(1))
            is_error(mesh.codes.ARGUMENT, mesh.changes("1"))
        end},
        {"a missing object is not found", function()
            is_error(mesh.codes.NOT_FOUND, mesh.get("/routes/no-such-route"))
        end},
        {"status is a JSON object that says ready", function()
            same(cjson.decode(mesh.status()).ready, true)
        end},
        {"memory is given back: many calls, a full collection, same answers", function()
            local key = mesh.list("/upstreams/")[1].key
            local value = mesh.get(key)
            for _ = 1, 10000 do
                mesh.get(key)
                mesh.list("/upstreams/")
            end
            collectgarbage()
            same(mesh.get(key), value)
        end},
        {"stop ends it, and it can start again from text", function()
            same(mesh.stop(), true)
            is_error(mesh.codes.NOT_RUNNING, mesh.revision())
            local text = cjson.encode({xds = xds, etcd_listen = "127.0.0.1:0"})
            local ok, err = mesh.start(text)
            same(err, nil)
            same(ok, true)
            same(mesh.stop(), true)
        end},
    }
end


--- Runs every case in order; later ones build on earlier ones.
-- @param xds  the URI of the xDS source
function _M.run(xds)
    local loaded, mesh = pcall(require, "resty.apisix_mesh")
    if not loaded then
        ngx.say("not ok 1 - the library loads\n# ", mesh)
        return
    end

    tap.run(cases(mesh, xds))
end


return _M
