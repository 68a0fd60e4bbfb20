--- Stands in for APISIX's module: config.yaml, as the test sets it.

local _M = {conf = {deployment = {}}}


function _M.local_conf()
    return _M.conf
end


function _M.clear_cache() end


return _M
