--- Stands in for APISIX's module, with the clean handlers that it had before 3.18.

local ipairs = ipairs

local _M = {}


function _M.add_clean_handler(item, handler)
    item.clean_handlers[#item.clean_handlers + 1] = {f = handler, id = #item.clean_handlers + 1}
end


function _M.fire_all_clean_handlers(item)
    for _, handler in ipairs(item and item.clean_handlers or {}) do
        handler.f(item)
    end
    if item then
        item.clean_handlers = {}
    end
end


return _M
