--- Tells how cases end.
--
-- In: an array of `{name, function}`, in order. Out: TAP as the response. A case fails by an error.

local ipairs = ipairs
local ngx = ngx
local pcall = pcall
local tostring = tostring

local _M = {}


--- Runs every case.
function _M.run(cases)
    ngx.say("1..", #cases)
    for number, case in ipairs(cases) do
        local ok, err = pcall(case[2])
        ngx.say(ok and "ok " or "not ok ", number, " - ", case[1])
        if not ok then
            ngx.say("# ", tostring(err))
        end
    end
end


return _M
