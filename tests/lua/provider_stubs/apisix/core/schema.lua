--- Stands in for APISIX's module: of JSON schema the required properties, with the same kind of
-- error. Like the real one it fills in defaults.

local ipairs = ipairs
local pairs = pairs

local _M = {}


function _M.check(schema, value)
    for _, name in ipairs(schema.required or {}) do
        if value[name] == nil then
            return false, "property \"" .. name .. "\" is required"
        end
    end
    for name, default in pairs(schema.defaults or {}) do
        if value[name] == nil then
            value[name] = default
        end
    end
    return true
end


return _M
