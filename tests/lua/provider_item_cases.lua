--- What becomes of items: what APISIX reads of a directory, and when. Each case is `{sentence, function}`.

local provider = require("provider_worker")

local commit = provider.commit
local error = error
local errors = provider.errors
local ids = provider.ids
local routes = provider.routes
local same = provider.same

local ROUTE = {required = {"uri"}, defaults = {priority = 0}}


return {
    {"what there is when an object is made is in it at once", function()
        local this = routes({["/routes/b"] = '{"uri":"/b"}', ["/routes/a"] = '{"uri":"/a"}'})
        same(ids(this.routes), "a b")
        same(this.routes.need_reload, false)
        same(this.config.fetch_created_obj("/routes"), this.routes)
        same(this.config.new("/routes"):get("a"), nil)
    end},
    {"an item has the fields that the etcd provider gives", function()
        local this = routes({["/routes/a"] = '{"uri":"/a","id":"else"}'})
        commit(this, {["/routes/a"] = '{"uri":"/b","id":"else"}'})
        local item = this.routes:get("a")
        same(item.key, "/routes/a")
        same(item.value.id, "a")
        same(item.value.uri, "/b")
        same(item.createdIndex, 1)
        same(item.modifiedIndex, 2)
        same(this.routes.prev_index, 2)
        same(this.routes.values[this.routes.values_hash.a], item)
    end},
    {"only what changed is decoded, checked and filtered", function()
        local checked, filtered = {}, {}
        local this = routes({["/routes/a"] = "{}", ["/routes/b"] = "{}", ["/upstreams/u"] = "{}"}, {
            checker = function(_, key)
                checked[#checked + 1] = key
                return true
            end,
            filter = function(item)
                filtered[#filtered + 1] = item.key .. "@" .. item.modifiedIndex
            end,
        })
        same(this.json.decoded, 2)
        commit(this, {["/routes/b"] = '{"n":1}', ["/upstreams/u"] = '{"n":1}'})
        same(this.json.decoded, 3)
        same(table.concat(checked, " "), "/routes/a /routes/b /routes/b")
        same(table.concat(filtered, " "), "/routes/a@1 /routes/b@1 /routes/b@2")
        same(this.routes:get("a").modifiedIndex, 1)
        same(this.routes.conf_version, 3)
        this.mesh.settle()
        same(this.json.decoded, 3)
        same(this.routes.conf_version, 3)
        same(this.mesh.lists, 1)
        same(this.mesh.asks, 1)
    end},
    {"the schema is applied, with its defaults", function()
        local this = routes({["/routes/a"] = '{"uri":"/a"}', ["/routes/b"] = "{}"}, {item_schema = ROUTE})
        same(ids(this.routes), "a")
        same(this.routes:get("a").value.priority, 0)
        same(errors(this, '/routes/b is invalid at revision 1: property "uri" is required; '
            .. "it is left out until"), 1)
    end},
    {"an invalid value leaves the former item in force, and is told once", function()
        local this = routes({["/routes/a"] = '{"uri":"/a"}'}, {item_schema = ROUTE})
        local item, version = this.routes:get("a"), this.routes.conf_version
        commit(this, {["/routes/a"] = "{}"})
        same(this.routes:get("a"), item)
        same(this.routes.conf_version, version)
        same(errors(this, "its last valid value stays in force"), 1)
        this.mesh.compact()
        commit(this, {["/routes/b"] = '{"uri":"/b"}'})
        same(errors(this), 1)
        commit(this, {["/routes/a"] = '{"uri":"/c"}'})
        same(this.routes:get("a").value.uri, "/c")
        same(errors(this), 1)
    end},
    {"what is no JSON, no object, or makes the checker raise an error, is invalid", function()
        local this = routes({["/routes/a"] = "{}", ["/routes/z"] = "{}"}, {
            checker = function(value)
                return true, value.a.b
            end,
        })
        same(ids(this.routes), "")
        same(errors(this, "attempt to index field 'a'"), 2)
        commit(this, {["/routes/a"] = "{", ["/routes/b"] = "1", ["/routes/z"] = '{"a":{}}'})
        same(ids(this.routes), "z")
        same(errors(this, "/routes/a is invalid at revision 2: Expected"), 1)
        same(errors(this, "it should be an object, not a number"), 1)
    end},
    {"a removal leaves a hole that is closed in time, and the filter is told", function()
        local gone = {}
        local this = routes({["/routes/a"] = "{}", ["/routes/b"] = "{}", ["/routes/c"] = "{}"}, {
            filter = function(item)
                if not item.value then
                    gone[#gone + 1] = item.key .. "@" .. item.modifiedIndex
                end
            end,
        })
        local values, version = this.routes.values, this.routes.conf_version
        commit(this, {["/routes/a"] = false})
        same(ids(this.routes), "b c")
        same(this.routes:get("a"), nil)
        same(this.routes.values[1], false)
        same(this.routes.conf_version, version + 1)
        commit(this, {["/routes/b"] = false})
        same(ids(this.routes), "c")
        same(#this.routes.values, 1)
        same(#values, 3)
        same(table.concat(gone, " "), "/routes/a@2 /routes/b@3")
        commit(this, {["/routes/a"] = "{}"})
        same(ids(this.routes), "c a")
    end},
    {"when the last item goes, conf_version tells", function()
        local this = routes({["/routes/a"] = "{}"})
        local version = this.routes.conf_version
        commit(this, {["/routes/a"] = false})
        same(#this.routes.values, 0)
        same(this.routes.conf_version ~= version, true)
    end},
    {"the removal of what was never valid changes nothing", function()
        local this = routes({["/routes/a"] = "{"})
        commit(this, {["/routes/a"] = false, ["/routes/unknown"] = false})
        same(this.routes.conf_version, 0)
        same(errors(this), 1)
    end},
    {"an error in a filter keeps the former item and does not stop the rest", function()
        local this = routes({["/routes/a"] = '{"n":1}', ["/routes/c"] = '{"n":1}'}, {
            filter = function(item)
                if item.value and item.value.n == 2 then
                    error("too much")
                end
            end,
        })
        commit(this, {["/routes/a"] = '{"n":2}', ["/routes/b"] = '{"n":2}', ["/routes/c"] = '{"n":3}'})
        same(this.routes:get("a").value.n, 1)
        same(this.routes:get("b"), nil)
        same(this.routes:get("c").value.n, 3)
        same(errors(this, "too much"), 2)
    end},
    {"the filter finds its item in the array", function()
        local this
        local found = 0
        this = routes({}, {
            filter = function(item)
                if this.routes:get("a") == item then
                    found = found + 1
                end
            end,
        })
        commit(this, {["/routes/a"] = "{}"})
        commit(this, {["/routes/a"] = '{"n":1}'})
        same(found, 2)
    end},
    {"clean handlers are fired when an item is replaced and when it goes", function()
        local this = routes({["/routes/a"] = "{}"})
        local fired = 0
        local function handler()
            fired = fired + 1
        end
        this.util.add_clean_handler(this.routes:get("a"), handler)
        commit(this, {["/routes/a"] = "{"})
        same(fired, 0)
        commit(this, {["/routes/a"] = '{"n":1}'})
        same(fired, 1)
        this.util.add_clean_handler(this.routes:get("a"), handler)
        commit(this, {["/routes/a"] = false})
        same(fired, 2)
    end},
    {"a clean handler that fails does not stop the rest", function()
        local this = routes({["/routes/a"] = "{}"})
        this.util.add_clean_handler(this.routes:get("a"), error)
        commit(this, {["/routes/a"] = false, ["/routes/b"] = "{}"})
        same(ids(this.routes), "b")
        same(errors(this, "/routes/a: a clean handler failed"), 1)
    end},
    {"an APISIX without clean handlers needs none", function()
        local this = routes({["/routes/a"] = "{}"}, nil, function(this)
            this.util.fire_all_clean_handlers = nil
        end)
        same(this.routes:get("a").clean_handlers, nil)
        commit(this, {["/routes/a"] = false})
        same(ids(this.routes), "")
        same(errors(this), 0)
    end},
    {"a key belongs to the directory that it lies in, at any depth", function()
        local this = routes({["/routes/a/b/c"] = "{}", ["/routes_too/x"] = "{}", ["/routes"] = "{}"})
        same(ids(this.routes), "a/b/c")
        commit(this, {["/routes_too/y"] = "{}", ["/routes/d"] = "{}"})
        same(ids(this.routes), "a/b/c d")
    end},
    {"items with the same id in their values are told apart by their keys", function()
        local this = routes({["/routes/a"] = '{"id":"x","n":1}', ["/routes/b"] = '{"id":"x","n":2}'})
        same(ids(this.routes), "a b")
        same(this.routes:get("b").value.n, 2)
    end},
    {"a single item may be an array, has no id, and may go", function()
        local seen = 0
        local this = routes({["/plugins"] = '[{"name":"a"}]', ["/plugins/x"] = "{}", ["/plugin_metadata/x"] = "{}"})
        local plugins = this.config.new("/plugins", {automatic = true, single_item = true, filter = function(item)
            seen = seen + (item.value and #item.value or 100)
        end})
        same(#plugins.values, 1)
        same(plugins.values[1].key, "/plugins")
        same(plugins.values[1].value.id, nil)
        commit(this, {["/plugins"] = '[{"name":"a"},{"name":"b"}]'})
        same(seen, 3)
        commit(this, {["/plugins"] = false})
        same(#plugins.values, 0)
        same(seen, 103)
    end},
}
