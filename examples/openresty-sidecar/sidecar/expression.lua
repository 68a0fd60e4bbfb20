--- EXAMPLE: the conditions in `vars`, as lua-resty-expr evaluates them for APISIX.
--
-- In: an array of conditions (all must hold), or {"OR"|"AND"|"!OR"|"!AND", condition, ...}, nested
-- at will; a condition is {variable, operator, value} or {variable, "!", operator, value}. Out: a
-- boolean. An operator outside of the table below raises an error: guessing could open a route.

local cjson = require("cjson.safe")

local error = error
local ipairs = ipairs
local ngx = ngx
local tonumber = tonumber
local tostring = tostring
local type = type
local sub = string.sub
local re_find = ngx.re.find

local _M = {}


-- A variable of the request; nil when it is absent.
function _M.variable(name)
    if sub(name, 1, 4) == "arg_" then
        local value = ngx.req.get_uri_args()[sub(name, 5)]
        return type(value) == "table" and value[1] or value
    end
    return ngx.var[name]
end


local function equal(left, right)
    if right == cjson.null then
        return left == nil
    elseif type(right) == "number" then
        return tonumber(left) == right
    end
    return left ~= nil and tostring(left) == tostring(right)
end


-- As numbers when the right side is one; then what is no number is neither less nor more.
local function as_right(left, right)
    return type(right) == "number" and tonumber(left) or type(right) == "string" and left or nil
end


local function less(left, right)
    left = as_right(left, right)
    return left ~= nil and left < right
end


local function at_least(left, right)
    left = as_right(left, right)
    return left ~= nil and left >= right
end


local function found(left, pattern, options)
    return left ~= nil and re_find(tostring(left), pattern, options) ~= nil
end


local operators = {
    ["=="] = equal,
    ["~="] = function(left, right) return not equal(left, right) end,
    ["~~"] = function(left, right) return found(left, right, "jo") end,
    ["~*"] = function(left, right) return found(left, right, "ijo") end,
    ["<"] = less,
    [">"] = function(left, right) return at_least(left, right) and not equal(left, right) end,
    [">="] = at_least,
    ["in"] = function(left, right)
        for _, value in ipairs(right) do
            if equal(left, value) then
                return true
            end
        end
        return false
    end,
}


local function condition(item)
    local operator, value, wanted = item[2], item[3], true
    if operator == "!" then
        operator, value, wanted = item[3], item[4], false
    end
    local compare = operators[operator]
    if not compare then
        error("vars: operator " .. tostring(operator) .. " is unknown to this example")
    end
    return compare(_M.variable(item[1]), value) == wanted
end


local evaluate


-- Whether one of the conditions from `first` on has this truth value.
local function any(list, first, truth)
    for index = first, #list do
        if evaluate(list[index]) == truth then
            return true
        end
    end
    return false
end


local groups = {
    ["OR"] = function(list) return any(list, 2, true) end,
    ["!OR"] = function(list) return not any(list, 2, true) end,
    ["AND"] = function(list) return not any(list, 2, false) end,
    ["!AND"] = function(list) return any(list, 2, false) end,
}


function evaluate(item)
    if type(item[1]) == "table" then
        return not any(item, 1, false)
    end
    local group = groups[item[1]]
    if group then
        return group(item)
    end
    return condition(item)
end


--- Whether the request fulfils `vars`; an empty array always holds.
function _M.holds(vars)
    return vars[1] == nil or evaluate(vars)
end


return _M
