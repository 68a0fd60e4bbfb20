--- EXAMPLE: smooth weighted round robin, over the nodes of an upstream or the parts of a split.
--
-- In: things with a `weight`. Out: one of them. The turn is kept in the things themselves. Whatever
-- `type` an upstream has, it is served round robin here. Node hosts are IP addresses.

local ipairs = ipairs
local next = next
local pairs = pairs
local match = string.match
local tonumber = tonumber

local _M = {}


--- The next of `things` by weight (1 when it has none); nil when no weight is above 0.
-- @param things   array of tables
-- @param allowed  function that says of a thing whether it may be chosen
function _M.next(things, allowed)
    local best, total = nil, 0
    for _, thing in ipairs(things) do
        local weight = thing.weight or 1
        if weight > 0 and allowed(thing) then
            total = total + weight
            thing.turn = (thing.turn or 0) + weight
            if not best or thing.turn > best.turn then
                best = thing
            end
        end
    end
    if best then
        best.turn = best.turn - total
    end
    return best
end


-- {"10.0.0.1:80": 1} becomes the array form, once.
local function as_array(upstream)
    local nodes = upstream.nodes or {}
    if nodes[1] or not next(nodes) then
        return nodes
    end
    local array = {}
    for address, weight in pairs(nodes) do
        local host, port = match(address, "^(.*):(%d+)$")
        array[#array + 1] = {host = host, port = tonumber(port), weight = weight}
    end
    upstream.nodes = array
    return array
end


--- A node of the highest priority that has one left.
-- @param upstream  decoded upstream object
-- @param tried     set of nodes that failed for this request
function _M.choose(upstream, tried)
    local nodes = as_array(upstream)
    local highest
    for _, node in ipairs(nodes) do
        local priority = node.priority or 0
        if node.weight > 0 and not tried[node] and (not highest or priority > highest) then
            highest = priority
        end
    end
    return _M.next(nodes, function(node)
        return not tried[node] and (node.priority or 0) == highest
    end)
end


return _M
