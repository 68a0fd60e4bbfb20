--- One directory of APISIX's configuration, such as /routes, in the shape that APISIX reads.
--
-- In: what has become of keys. Out: `values`, an array of items with holes (`false`),
-- `values_hash`, the place of each id in it, and `conf_version`, which tells that they changed. A
-- change is decoded and checked once; one that is invalid leaves the former item in force. Never
-- here: where changes come from, and when.

local check_schema = require("apisix.core.schema").check
local config_util = require("apisix.core.config_util")
local json = require("apisix.core.json")
local log = require("apisix.core.log")

local find = string.find
local ipairs = ipairs
local max = math.max
local pairs = pairs
local pcall = pcall
local sub = string.sub
local tostring = tostring
local type = type

-- In APISIX before 3.18 others may attach to an item what is to be done when it goes.
local fire_clean_handlers = config_util.fire_all_clean_handlers

local _M = {}


-- The id that a key has here; nil when it belongs elsewhere.
local function id_of(self, key)
    if self.single_item then
        return key == self.key and key or nil
    end
    if find(key, self.key .. "/", 1, true) == 1 then
        return sub(key, #self.key + 2)
    end
end


local function read(self, change)
    local value, err = json.decode(change.value)
    if value == nil then
        return nil, err
    end
    if not self.single_item and type(value) ~= "table" then
        return nil, "it should be an object, not a " .. type(value)
    end

    local ok = true
    if self.item_schema then
        ok, err = check_schema(self.item_schema, value)
    end
    if ok and self.checker then
        ok, err = self.checker(value, change.key)
    end
    if not ok then
        return nil, err
    end
    return value
end


-- A checker that raises an error has found its value invalid.
local function try_read(self, change)
    local ok, value, err = pcall(read, self, change)
    if not ok then
        return nil, value
    end
    return value, err
end


local function filter(self, item)
    if self.filter then
        return pcall(self.filter, item)
    end
    return true
end


local function clean(item)
    if not fire_clean_handlers then
        return
    end
    local ok, err = pcall(fire_clean_handlers, item)
    if not ok then
        log.error(item.key, ": a clean handler failed: ", err)
    end
end


-- A new array: who walks the old one is not disturbed.
local function close_holes(self)
    local values = {}
    for _, item in ipairs(self.values) do
        if item then
            values[#values + 1] = item
            self.values_hash[id_of(self, item.key)] = #values
        end
    end
    self.values, self.sync_times = values, 0
end


-- Leaves a hole, as APISIX's etcd provider does. A removal costs the same in any directory: holes
-- are closed when they are more than the items.
local function take_out(self, id)
    self.values[self.values_hash[id]], self.values_hash[id] = false, nil
    self.sync_times = self.sync_times + 1
    if self.sync_times > #self.values / 2 then
        close_holes(self)
    end
end


local function put(self, id, item)
    local index = self.values_hash[id]
    local former = index and self.values[index]
    index = index or #self.values + 1
    self.values[index], self.values_hash[id] = item, index

    -- After that: the filter of /plugins looks at the array.
    local ok, err = filter(self, item)
    if not ok and former then
        self.values[index] = former
    elseif not ok then
        take_out(self, id)
    elseif former then
        clean(former)
    end
    return ok, err
end


local function set(self, id, change)
    local value, err = try_read(self, change)
    local ok = value ~= nil
    if ok then
        if not self.single_item then
            value.id = id
        end
        ok, err = put(self, id, {
            key = change.key,
            value = value,
            createdIndex = change.create_revision,
            modifiedIndex = change.mod_revision,
            clean_handlers = fire_clean_handlers and {} or nil,
        })
    end

    if not ok then
        local rest = self.values_hash[id] and "its last valid value stays in force"
            or "it is left out"
        log.error(change.key, " is invalid at revision ", change.mod_revision, ": ", tostring(err),
                  "; ", rest, " until the control plane sends a valid one")
    end
    return ok
end


local function unset(self, id, change)
    local item = _M.get(self, id)
    if not item then
        return false
    end
    take_out(self, id)
    clean(item)

    local ok, err = filter(self, {key = change.key, modifiedIndex = change.mod_revision})
    if not ok then
        log.error(change.key, " is gone, and its filter failed: ", err)
    end
    return true
end


--- An empty one.
-- @param key   such as "/routes"
-- @param opts  `item_schema`, `checker` and `filter` of its items; `single_item` when the key
--              itself is the only one
function _M.new(key, opts)
    return {
        key = key,
        automatic = opts.automatic,
        item_schema = opts.item_schema,
        checker = opts.checker,
        filter = opts.filter,
        single_item = opts.single_item,
        running = true,
        need_reload = true,
        conf_version = 0,
        prev_index = 0,
        sync_times = 0,
        values = {},
        values_hash = {},
        -- Of each id's value, valid or not.
        revisions = {},
    }
end


--- The item with an id, `{key, value, createdIndex, modifiedIndex}`; nil when there is none.
function _M.get(self, id)
    local index = self.values_hash[tostring(id)]
    return index and self.values[index]
end


--- What its keys begin with.
function _M.prefix(self)
    return self.single_item and self.key or self.key .. "/"
end


--- Takes what has become of one key. Does nothing when the key belongs elsewhere, or this is known.
-- @param change  as `changes` of resty.apisix_mesh gives it; no `value` when the object is gone
function _M.take(self, change)
    local id = id_of(self, change.key)
    if not id or change.value and self.revisions[id] == change.mod_revision then
        return
    end

    local is_new
    if change.value then
        self.revisions[id] = change.mod_revision
        is_new = set(self, id, change)
    else
        self.revisions[id] = nil
        is_new = unset(self, id, change)
    end

    self.prev_index = max(self.prev_index, change.mod_revision)
    if is_new then
        self.conf_version = self.conf_version + 1
    end
end


--- Takes everything that there is at a revision: what is not in the array is gone.
function _M.take_all(self, items, revision)
    local listed = {}
    for _, item in ipairs(items) do
        listed[item.key] = true
        _M.take(self, item)
    end
    for id in pairs(self.revisions) do
        local key = self.single_item and id or self.key .. "/" .. id
        if not listed[key] then
            _M.take(self, {key = key, mod_revision = revision})
        end
    end
    self.need_reload = false
end


return _M
