--- Stands in for APISIX's module: lines go to nginx's error log, and are kept for the test.

local concat = table.concat
local ngx = ngx
local select = select
local tostring = tostring

local LEVELS = {error = ngx.ERR, warn = ngx.WARN, notice = ngx.NOTICE, info = ngx.INFO}

local _M = {lines = {}}

for name, level in pairs(LEVELS) do
    _M[name] = function(...)
        local parts = {}
        for index = 1, select("#", ...) do
            parts[index] = tostring((select(index, ...)))
        end
        local line = concat(parts)
        _M.lines[#_M.lines + 1] = name .. " " .. line
        ngx.log(level, line)
    end
end


return _M
