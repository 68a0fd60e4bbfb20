--- EXAMPLE, not a product: does with the mesh's objects what stock APISIX would do with them.
--
-- In: the objects that resty.apisix_mesh gives (routes and upstreams, see the folder sidecar/ for
-- the subset that is understood). Out: each request goes to the node that APISIX would choose.
-- Objects are read again only when their revision changes. Nothing here knows xDS.

local balancer = require("ngx.balancer")
local cjson = require("cjson.safe")
local matcher = require("sidecar.matcher")
local mesh = require("resty.apisix_mesh")
local nodes = require("sidecar.nodes")
local plugins = require("sidecar.plugins")

local ipairs = ipairs
local ngx = ngx
local pairs = pairs
local sub = string.sub

local FIRST_CONFIGURATION_SECONDS = 3

local _M = {}

-- What this worker serves from. `objects` maps a key to {mod_revision = n, value = <decoded>}.
local revision = 0
local objects = {}
local routes = matcher.new({})


-- An object that did not change keeps its table, and with it the turn of its round robin.
local function decode(item)
    local known = objects[item.key]
    if known and known.mod_revision == item.mod_revision then
        return known
    end

    local value, err = cjson.decode(item.value)
    if not value then
        ngx.log(ngx.ERR, item.key, " is not JSON: ", err)
        return known
    end
    return {mod_revision = item.mod_revision, value = value}
end


local function reload()
    local items, listed_at = mesh.list("/")
    if not items then
        -- The error is the second value: what was loaded last goes on.
        ngx.log(ngx.ERR, "objects cannot be listed: ", listed_at)
        return
    end

    local fresh, found = {}, {}
    for _, item in ipairs(items) do
        fresh[item.key] = decode(item)
        if fresh[item.key] and sub(item.key, 1, 8) == "/routes/" then
            found[#found + 1] = fresh[item.key].value
        end
    end
    objects, routes, revision = fresh, matcher.new(found), listed_at
    ngx.log(ngx.NOTICE, "revision ", revision, ": ", #found, " routes, ", #items, " objects")
end


local function refresh()
    local current, err = mesh.revision()
    if not current then
        -- A worker that quits serves its last requests from what it has: the library has left it.
        ngx.log(ngx.worker.exiting() and ngx.INFO or ngx.ERR, "revision cannot be read: ", err)
    elseif current ~= revision then
        reload()
    end
end


-- A worker that has just started, as after a reload, gets its objects in a moment: requests wait.
local function await_first_configuration()
    local patience = ngx.now() + FIRST_CONFIGURATION_SECONDS
    while revision == 0 and ngx.now() < patience do
        ngx.sleep(0.01)
        refresh()
    end
    return revision > 0
end


local function answer(status, text)
    ngx.status = status
    ngx.header["Content-Type"] = "text/plain"
    ngx.print(text, "\n")
    return ngx.exit(ngx.HTTP_OK)
end


local function upstream_of(target)
    if not target.upstream_id then
        return target.upstream
    end
    local object = objects["/upstreams/" .. target.upstream_id]
    return object and object.value
end


--- access_by_lua: finds the route, runs its plugins, and leaves the upstream for `balance`.
function _M.access()
    refresh()
    if revision == 0 and not await_first_configuration() then
        return answer(503, "the mesh's first configuration has not come yet")
    end

    local route = routes:match()
    if not route then
        return answer(404, "no route")
    end
    ngx.var.demo_route = route.name or route.id

    local response = plugins.run(route.plugins or {})
    if response then
        for name, value in pairs(response.headers or {}) do
            ngx.header[name] = value
        end
        return answer(response.status, response.body or "")
    end

    local upstream = upstream_of(plugins.target(route))
    if not upstream then
        return answer(502, "route " .. ngx.var.demo_route .. " has no upstream")
    end
    local node = nodes.choose(upstream, {})
    if not node then
        return answer(503, "the upstream of route " .. ngx.var.demo_route .. " has no nodes")
    end

    if upstream.pass_host == "rewrite" then
        ngx.var.upstream_host = upstream.upstream_host
    elseif upstream.pass_host == "node" then
        ngx.var.upstream_host = node.host
    end
    ngx.ctx.upstream, ngx.ctx.node, ngx.ctx.tried = upstream, node, {}
    ngx.ctx.timeout = route.timeout or upstream.timeout
end


--- balancer_by_lua: the node chosen in `access`, then, for each retry, one that was not tried.
function _M.balance()
    local ctx = ngx.ctx
    if balancer.get_last_failure() then
        ctx.tried[ctx.node] = true
        ctx.node = nodes.choose(ctx.upstream, ctx.tried) or ctx.node
    elseif (ctx.upstream.retries or 0) > 0 then
        balancer.set_more_tries(ctx.upstream.retries)
    end

    if ctx.timeout then
        balancer.set_timeouts(ctx.timeout.connect, ctx.timeout.send, ctx.timeout.read)
    end
    local ok, err = balancer.set_current_peer(ctx.node.host, ctx.node.port)
    if not ok then
        ngx.log(ngx.ERR, "node ", ctx.node.host, " cannot be used: ", err)
        return ngx.exit(502)
    end
end


return _M
