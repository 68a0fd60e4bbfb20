--- What a query costs in this worker, beside `ngx.shared` with the same objects.
--
-- In: a dictionary with room for them. Out: an array of `{group, name, nanoseconds}`, medians of many
-- turns that the operations take one after the other, compiled and with the garbage they make.

local binding = require("resty.apisix_mesh.ffi")
local ffi = require("ffi")
local mesh = require("resty.apisix_mesh")

local lib = binding.lib
local collectgarbage = collectgarbage
local floor = math.floor
local ipairs = ipairs
local max = math.max
local sort = table.sort
local tonumber = tonumber

ffi.cdef[[
typedef struct {
  long seconds;
  long nanoseconds;
} apisix_mesh_bench_time;
int clock_gettime(int clock, apisix_mesh_bench_time *time);
]]

-- The time that this thread had, whatever else runs on the machine: CLOCK_THREAD_CPUTIME_ID.
local CLOCK = 3
local TURNS = 31
-- How long a turn lasts, about, in nanoseconds.
local TURN = 4e6
-- Far from each other in the order of keys.
local STRIDE = 7919

local _M = {}


local time = ffi.new("apisix_mesh_bench_time")

local function now()
    ffi.C.clock_gettime(CLOCK, time)
    return tonumber(time.seconds) * 1e9 + tonumber(time.nanoseconds)
end


local function median(figures)
    sort(figures)
    return figures[floor(#figures / 2) + 1]
end


-- All keys, scattered.
local function fill(dict)
    local items, revision = assert(mesh.list())
    local keys = {}
    for i = 0, #items - 1 do
        local item = items[i * STRIDE % #items + 1]
        keys[i + 1] = item.key
        assert(dict:safe_set(item.key, item.value))
    end
    assert(dict:safe_set("version", revision))
    return keys, revision
end


-- In groups that begin with what nginx's own Lua has for it. Each runs so many times over.
local function operations(dict, keys, revision)
    local handle = ffi.new("apisix_mesh *[1]")
    assert(lib.apisix_mesh_running(handle) == lib.APISIX_MESH_RESULT_OK)
    local running, n = handle[0], #keys
    local value, mod_revision = ffi.new("apisix_mesh_buffer"), ffi.new("int64_t[1]")

    local function get_from_dict(of)
        return function(count)
            for i = 1, count do
                assert(dict:get(keys[i % of + 1]))
            end
        end
    end

    local function get(of)
        return function(count)
            for i = 1, count do
                assert(mesh.get(keys[i % of + 1]))
            end
        end
    end

    local function get_by_ffi(of)
        return function(count)
            for i = 1, count do
                local key = keys[i % of + 1]
                assert(lib.apisix_mesh_get(running, key, #key, value, mod_revision) == 0)
                lib.apisix_mesh_buffer_free(value)
            end
        end
    end

    return {
        {"one key again and again", "ngx.shared: get(key)", get_from_dict(1)},
        {"one key again and again", "mesh.get(key)", get(1)},
        {"one key again and again", "apisix_mesh_get, _buffer_free", get_by_ffi(1)},
        {"each key in turn", "ngx.shared: get(key)", get_from_dict(n)},
        {"each key in turn", "mesh.get(key)", get(n)},
        {"each key in turn", "apisix_mesh_get, _buffer_free", get_by_ffi(n)},
        {"nothing new", "ngx.shared: get(\"version\")", function(count)
            for _ = 1, count do
                assert(dict:get("version") == revision)
            end
        end},
        {"nothing new", "mesh.revision()", function(count)
            for _ = 1, count do
                assert(mesh.revision() == revision)
            end
        end},
        {"nothing new", "mesh.changes(revision)", function(count)
            for _ = 1, count do
                assert(#mesh.changes(revision) == 0)
            end
        end},
        {"everything", "ngx.shared: get_keys(0)", function(count)
            for _ = 1, count do
                assert(#dict:get_keys(0) == n + 1)
            end
        end},
        {"everything", "ngx.shared: get_keys(0), get(key) of each", function(count)
            for _ = 1, count do
                for _, key in ipairs(dict:get_keys(0)) do
                    assert(dict:get(key))
                end
            end
        end},
        {"everything", "mesh.list()", function(count)
            for _ = 1, count do
                assert(#mesh.list() == n)
            end
        end},
    }
end


-- Also makes the compiler see it.
local function calls_in_a_turn(run)
    local count = 1
    while true do
        local began = now()
        run(count)
        local took = now() - began
        if took > TURN / 4 then
            return max(1, floor(count * TURN / took))
        end
        count = count * 2
    end
end


function _M.run(dict)
    local all = operations(dict, fill(dict))
    for _, operation in ipairs(all) do
        operation.count = calls_in_a_turn(operation[3])
        operation.times = {}
    end
    for turn = 1, TURNS do
        for _, operation in ipairs(all) do
            collectgarbage()
            local began = now()
            operation[3](operation.count)
            operation.times[turn] = (now() - began) / operation.count
        end
    end
    local results = {}
    for i, operation in ipairs(all) do
        results[i] = {operation[1], operation[2], median(operation.times)}
    end
    return results
end


return _M
