--- EXAMPLE: the APISIX plugins that translated routes carry, as far as the demo needs them.
--
-- In: a route's `plugins`. Out: a response that ends the request, changes to the request, or
-- another upstream. Understood: fault-injection (abort), proxy-rewrite (uri, regex_uri, host,
-- method, headers), redirect (uri), traffic-split. Others are ignored.

local expression = require("sidecar.expression")
local nodes = require("sidecar.nodes")

local ipairs = ipairs
local ngx = ngx
local pairs = pairs
local tostring = tostring
local type = type
local random = math.random
local find = string.find
local gsub = string.gsub
local sub = string.sub

local _M = {}


-- "$name" becomes that variable's value, and nothing when it is absent.
local function expand(text)
    return (gsub(tostring(text), "%$([%w_]+)", function(name)
        return tostring(expression.variable(name) or "")
    end))
end


-- `vars` of a plugin: one expression of the array must hold.
local function one_holds(expressions)
    if not expressions or not expressions[1] then
        return true
    end
    for _, vars in ipairs(expressions) do
        if expression.holds(vars) then
            return true
        end
    end
    return false
end


local function abort(conf)
    local hit = not conf.percentage or random(1, 100) <= conf.percentage
    if not hit or not one_holds(conf.vars) then
        return nil
    end
    local headers = {}
    for name, value in pairs(conf.headers or {}) do
        headers[name] = expand(value)
    end
    return {status = conf.http_status, body = conf.body and expand(conf.body), headers = headers}
end


local function set_uri(uri)
    local question = find(uri, "?", 1, true)
    if question then
        ngx.req.set_uri_args(sub(uri, question + 1))
        uri = sub(uri, 1, question - 1)
    end
    ngx.req.set_uri(uri)
end


-- Pairs of pattern and replacement; the first pattern that is found counts.
local function rewrite_by_regex(pairs_of_text)
    for index = 1, #pairs_of_text, 2 do
        local uri, count = ngx.re.sub(ngx.var.uri, pairs_of_text[index], pairs_of_text[index + 1],
                                      "jo")
        if count and count > 0 then
            return set_uri(uri)
        end
    end
end


local function rewrite_headers(headers)
    for name, value in pairs(headers.add or {}) do
        local present = ngx.req.get_headers()[name]
        local values = type(present) == "table" and present or {present}
        values[#values + 1] = expand(value)
        ngx.req.set_header(name, values)
    end
    for name, value in pairs(headers.set or {}) do
        ngx.req.set_header(name, expand(value))
    end
    for _, name in ipairs(headers.remove or {}) do
        ngx.req.clear_header(name)
    end
end


local function rewrite(conf)
    if conf.uri then
        set_uri(expand(conf.uri))
    elseif conf.regex_uri then
        rewrite_by_regex(conf.regex_uri)
    end
    if conf.host then
        ngx.var.upstream_host = expand(conf.host)
    end
    if conf.method then
        ngx.req.set_method(ngx["HTTP_" .. conf.method])
    end
    rewrite_headers(conf.headers or {})
end


local function redirect(conf)
    local location = expand(conf.uri)
    if conf.append_query_string and ngx.var.args then
        location = location .. (find(location, "?", 1, true) and "&" or "?") .. ngx.var.args
    end
    return {status = conf.ret_code or 302, headers = {Location = location}}
end


--- Runs what acts on the request, in APISIX's order of priority.
-- @param plugins  table of name -> configuration
-- @return         nil, or `{status = n, body = text or nil, headers = table}` to answer with
function _M.run(plugins)
    local fault = plugins["fault-injection"]
    local response = fault and fault.abort and abort(fault.abort)
    if response then
        return response
    end
    if plugins["proxy-rewrite"] then
        rewrite(plugins["proxy-rewrite"])
    end
    return plugins.redirect and redirect(plugins.redirect)
end


local function rule_fits(rule)
    local expressions = {}
    for index, item in ipairs(rule.match or {}) do
        expressions[index] = item.vars
    end
    return one_holds(expressions)
end


local function every_part()
    return true
end


--- What names the upstream: the part that traffic-split picks, or the route itself.
-- @param route  decoded route object
-- @return       a table with `upstream_id` or `upstream`
function _M.target(route)
    local split = route.plugins and route.plugins["traffic-split"]
    for _, rule in ipairs(split and split.rules or {}) do
        if rule_fits(rule) then
            local part = nodes.next(rule.weighted_upstreams, every_part)
            return part and (part.upstream_id or part.upstream) and part or route
        end
    end
    return route
end


return _M
