--- What APISIX is promised by apisix.core.config_xds, with a mesh that does as the test says.
--
-- In: nothing. Out: TAP as the response. Each case loads the provider anew.

local ipairs = ipairs
local ngx = ngx
local pcall = pcall
local require = require
local tostring = tostring

local _M = {}


--- Runs every case.
function _M.run()
    local cases = {}
    for _, name in ipairs({"provider_item_cases", "provider_life_cases"}) do
        for _, case in ipairs(require(name)) do
            cases[#cases + 1] = case
        end
    end

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
