--- EXAMPLE: finds the route of a request in the order in which APISIX (radixtree_host_uri) looks.
--
-- In: decoded route objects; the request comes from nginx. Out: the first route in this order that
-- fits: exact host, then "*.suffix" from longest to shortest, then routes without a host; within a
-- host exact paths, then prefixes from longest to shortest; within a path the higher priority. A
-- host without a fitting route hands on to the next. Lists are scanned; APISIX has trees.
--
-- Understood: hosts/host, uris/uri with "*" at the end, priority, methods, vars, status.

local expression = require("sidecar.expression")

local ipairs = ipairs
local ngx = ngx
local pairs = pairs
local setmetatable = setmetatable
local lower = string.lower
local sort = table.sort
local sub = string.sub

local _M = {}
local mt = {__index = _M}


local function paths(route)
    return route.uris or {route.uri}
end


local function hosts(route)
    return route.hosts or {route.host}
end


-- One path of one route, with what decides its place. `prefix` is nil for an exact path.
local function entry(route, path)
    local new = {route = route, path = path, priority = route.priority or 0}
    if sub(path, -1) == "*" then
        new.prefix = sub(path, 1, -2)
    end
    return new
end


local function comes_first(a, b)
    if (a.prefix == nil) ~= (b.prefix == nil) then
        return a.prefix == nil
    end
    if a.prefix and #a.prefix ~= #b.prefix then
        return #a.prefix > #b.prefix
    end
    if a.priority ~= b.priority then
        return a.priority > b.priority
    end
    return a.number < b.number
end


local function add(list, new)
    new.number = #list + 1
    list[new.number] = new
end


local function list_of(map, name)
    map[name] = map[name] or {}
    return map[name]
end


--- Orders routes for matching.
-- @param routes  array of decoded route objects
function _M.new(routes)
    local self = {exact = {}, suffixes = {}, any = {}}
    local by_suffix = {}
    for _, route in ipairs(routes) do
        for _, path in ipairs(route.status == 0 and {} or paths(route)) do
            local without_host = true
            for _, host in ipairs(hosts(route)) do
                without_host = false
                host = lower(host)
                if sub(host, 1, 1) == "*" then
                    add(list_of(by_suffix, sub(host, 2)), entry(route, path))
                else
                    add(list_of(self.exact, host), entry(route, path))
                end
            end
            if without_host then
                add(self.any, entry(route, path))
            end
        end
    end

    for _, list in pairs(self.exact) do
        sort(list, comes_first)
    end
    for suffix, list in pairs(by_suffix) do
        sort(list, comes_first)
        self.suffixes[#self.suffixes + 1] = {suffix = suffix, list = list}
    end
    sort(self.suffixes, function(a, b)
        return #a.suffix > #b.suffix
    end)
    sort(self.any, comes_first)
    return setmetatable(self, mt)
end


local function path_fits(candidate, uri)
    if candidate.prefix then
        return sub(uri, 1, #candidate.prefix) == candidate.prefix
    end
    return uri == candidate.path
end


local function method_fits(route, method)
    if not route.methods then
        return true
    end
    for _, wanted in ipairs(route.methods) do
        if wanted == method then
            return true
        end
    end
    return false
end


local function first_fit(list, uri, method)
    for _, candidate in ipairs(list or {}) do
        local route = candidate.route
        if path_fits(candidate, uri) and method_fits(route, method)
           and expression.holds(route.vars or {})
        then
            return route
        end
    end
end


--- The route of the present request, or nil.
function _M:match()
    local host, uri, method = ngx.var.host, ngx.var.uri, ngx.req.get_method()
    local route = first_fit(self.exact[host], uri, method)
    for _, group in ipairs(route and {} or self.suffixes) do
        if #host > #group.suffix and sub(host, -#group.suffix) == group.suffix then
            route = first_fit(group.list, uri, method)
        end
        if route then
            break
        end
    end
    return route or first_fit(self.any, uri, method)
end


return _M
