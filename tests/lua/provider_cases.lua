--- What APISIX is promised by apisix.core.config_xds, with a mesh that does as the test says.
--
-- In: nothing. Out: TAP as the response. Each case loads the provider anew.

local tap = require("tap")

local ipairs = ipairs
local require = require

local _M = {}


--- Runs every case.
function _M.run()
    local cases = {}
    for _, name in ipairs({"provider_item_cases", "provider_life_cases"}) do
        for _, case in ipairs(require(name)) do
            cases[#cases + 1] = case
        end
    end

    tap.run(cases)
end


return _M
