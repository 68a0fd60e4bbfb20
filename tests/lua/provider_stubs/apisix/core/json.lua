--- Stands in for APISIX's module: cjson with its settings. Counts what is decoded.

local cjson = require("cjson.safe")

local _M = {decoded = 0}

if cjson.decode_array_with_array_mt then
    cjson.decode_array_with_array_mt(true)
end


function _M.decode(text)
    _M.decoded = _M.decoded + 1
    return cjson.decode(text)
end


return _M
