--- Stands in for resty.apisix_mesh: the first line of a file is the revision, each further one an
-- object as "KEY JSON".

local gmatch = string.gmatch
local io_open = io.open
local ngx = ngx
local tonumber = tonumber

local _M = {}


local function content()
    local file = io_open(ngx.config.prefix() .. "objects")
    local text = file:read("*a")
    file:close()
    return text
end


function _M.revision()
    return tonumber((content():match("^%d+")))
end


function _M.list()
    local items = {}
    local revision = _M.revision()
    for key, value in gmatch(content(), "(/%S+) ([^\n]+)") do
        items[#items + 1] = {key = key, value = value, mod_revision = revision}
    end
    return items, revision
end


return _M
