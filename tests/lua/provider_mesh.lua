--- Stands in for resty.apisix_mesh: the test says what the control plane wants, one commit at a time.
--
-- In: `commit` and the fields below. Out: what the real one promises. Counts what it is asked.

local error = error
local ngx = ngx
local pairs = pairs
local sort = table.sort
local sub = string.sub

local CODES = {NOT_RUNNING = 6, NOT_READY = 8, COMPACTED = 11, PANIC = 10}

-- More than any look takes, should the machine be slow.
local PATIENCE_SECONDS = 10

local _M = {}


--- A mesh at no revision.
function _M.new()
    local mesh = {codes = CODES, version = "0", looks = 0, lists = 0, asks = 0}
    -- The code of what every call fails with; nil when they work.
    mesh.failure = nil
    local revision, oldest = 0, 0
    -- What there is, and what has become of each key that changed.
    local objects, changed = {}, {}

    local function sorted(by_key, wanted)
        local items = {}
        for _, item in pairs(by_key) do
            if wanted(item) then
                items[#items + 1] = item
            end
        end
        sort(items, function(a, b) return a.key < b.key end)
        return items
    end

    --- Makes `{[key] = JSON text, or false for a removal}` the next revision.
    function mesh.commit(changes)
        revision = revision + 1
        for key, value in pairs(changes) do
            local former = objects[key]
            local item = {
                key = key,
                value = value or nil,
                create_revision = value and (former and former.create_revision or revision) or 0,
                mod_revision = revision,
            }
            objects[key] = value and item or nil
            changed[key] = item
        end
        return revision
    end

    --- Forgets what happened before the next commit.
    function mesh.compact()
        oldest = revision + 1
        changed = {}
    end

    --- Begins another life, with nothing; its revisions start anew.
    function mesh.restart()
        revision, objects = 0, {}
        mesh.compact()
    end

    local function failure()
        return mesh.failure or revision == 0 and CODES.NOT_READY or nil
    end

    function mesh.revision()
        mesh.looks = mesh.looks + 1
        if mesh.failure then
            return nil, "as the test wants it", mesh.failure
        end
        return revision
    end

    function mesh.list(prefix)
        local code = failure()
        if code then
            return nil, "as the test wants it", code
        end
        mesh.lists = mesh.lists + 1
        prefix = prefix or ""
        local function wanted(item)
            return sub(item.key, 1, #prefix) == prefix
        end
        return sorted(objects, wanted), revision
    end

    function mesh.changes(after)
        mesh.asks = mesh.asks + 1
        local code = failure()
        if not code and (after + 1 < oldest or after > revision) then
            code = CODES.COMPACTED
        end
        if code then
            return nil, "as the test wants it", code
        end
        local function wanted(item)
            return item.mod_revision > after
        end
        return sorted(changed, wanted), revision
    end

    function mesh.start(settings)
        mesh.started = settings
        mesh.failure = nil
        return true
    end

    function mesh.stop()
        mesh.started = nil
        mesh.failure = CODES.NOT_RUNNING
        return true
    end

    --- Waits until the provider has looked again, and is through with it.
    function mesh.settle()
        local wanted, deadline = mesh.looks + 2, ngx.now() + PATIENCE_SECONDS
        while mesh.looks < wanted do
            if ngx.now() > deadline then
                error("the provider does not look at the revision", 2)
            end
            ngx.sleep(0.001)
        end
    end

    return mesh
end


return _M
