--- APISIX's configuration, from the mesh library in the same process.
--
-- In: objects and changes, from resty.apisix_mesh. Out: what APISIX's other providers give, an
-- object for each directory. One timer looks at the revision; on news each object is handed what
-- changed. Never here: a wait. Where the first configuration has not come, objects are empty.
--
-- APISIX finds this file before its own of the same name by `apisix.extra_lua_path`, and takes it
-- with `config_provider: xds`. It counts on ngx_apisix_mesh_module to run the library; where
-- nothing does, it starts it with the settings in `deployment.apisix_mesh` of config.yaml.

local config_local = require("apisix.core.config_local")
local directory = require("apisix.core.config_xds.directory")
local log = require("apisix.core.log")
local mesh = require("resty.apisix_mesh")

local exiting = ngx.worker.exiting
local ipairs = ipairs
local remove = table.remove
local setmetatable = setmetatable
local sleep = ngx.sleep
local timer_at = ngx.timer.at
local tostring = tostring
local traceback = debug.traceback
local unpack = unpack
local xpcall = xpcall

-- Seconds from one look at the revision to the next, and until what failed is tried again.
local POLL, RETRY = 0.01, 1

-- What a timer allocates is given back when it ends, so a new one goes on after this many looks.
local LOOKS_OF_A_TIMER = 1000

local NOT_RUNNING = "apisix-mesh does not run in this process, so no configuration comes: "
    .. "nginx_config.main_configuration_snippet of config.yaml must load ngx_apisix_mesh_module "
    .. "and hold an apisix_mesh block, or deployment.apisix_mesh hold xds and state_dir"
local NO_STATE_DIR = "deployment.apisix_mesh.state_dir of config.yaml is not set: name a directory "
    .. "that nginx's user may write, through which its processes share what one of them hosts"
local NOT_READY = "the first configuration has not come yet; there are no routes until it does"
local BEGUN_ANEW = "the mesh library began anew; what it served last stays in force until it is "
    .. "ready"

local _M = {
    version = 0.1,
    local_conf = config_local.local_conf,
    clear_local_cache = config_local.clear_cache,
    get = directory.get,
}

local mt = {
    __index = _M,
    __tostring = function(self)
        return "apisix-mesh key: " .. tostring(self.key)
    end,
}

-- The latest object of each key, and those that are kept up to date.
local created, followers = {}, {}

-- The revision up to which the followers were handed all changes; nil when they need a whole list.
local last

-- Why no news comes, as last logged; nil when it does.
local obstacle

-- Whether the library runs in this process because of `deployment.apisix_mesh`.
local started


local function report(text, write)
    if text ~= obstacle then
        write(text)
        obstacle = text
    end
end


local function start()
    local conf = config_local.local_conf()
    local settings = conf and conf.deployment and conf.deployment.apisix_mesh
    if not settings then
        report(NOT_RUNNING, log.error)
        return RETRY
    end
    if not settings.state_dir then
        report(NO_STATE_DIR, log.error)
        return RETRY
    end

    local err
    started, err = mesh.start(settings)
    if not started then
        report("deployment.apisix_mesh of config.yaml: " .. err, log.error)
        return RETRY
    end
    return POLL
end


local function catch_up()
    -- Filters may close objects and make others, which have listed for themselves.
    local present = {unpack(followers)}

    if last then
        local changes, answer, code = mesh.changes(last)
        if changes then
            last = answer
            for _, change in ipairs(changes) do
                for _, self in ipairs(present) do
                    directory.take(self, change)
                end
            end
            return true
        elseif code ~= mesh.codes.COMPACTED then
            return nil, answer
        end
    end

    local items, answer = mesh.list()
    if not items then
        return nil, answer
    end
    last = answer
    for _, self in ipairs(present) do
        directory.take_all(self, items, answer)
    end
    return true
end


-- Gives the seconds to wait before the next look.
local function look()
    local revision, err, code = mesh.revision()
    if code == mesh.codes.NOT_RUNNING then
        return start()
    end
    if revision == 0 then
        report(last and BEGUN_ANEW or NOT_READY, log.warn)
        return POLL
    end

    local ok = revision ~= nil
    if ok and revision ~= last then
        ok, err = catch_up()
    end
    if not ok then
        report("the mesh library gives no news: " .. err, log.error)
        return RETRY
    end
    if obstacle then
        log.notice("news comes from the mesh library, at revision ", last)
        obstacle = nil
    end
    return POLL
end


-- A worker that serves its last requests does not keep the library from being hosted by another.
local function leave()
    if started then
        started = nil
        mesh.stop()
    end
end


local function run(premature)
    if premature then
        return leave()
    end
    for _ = 1, LOOKS_OF_A_TIMER do
        if exiting() then
            return leave()
        end
        local ok, pause = xpcall(look, traceback)
        if not ok then
            -- How far it came is not known.
            last = nil
            report("the configuration cannot be taken: " .. pause, log.error)
            pause = RETRY
        end
        sleep(pause)
    end

    local ok, err = timer_at(0, run)
    if not ok then
        if not exiting() then
            log.warn("no new timer, going on with this one: ", err)
        end
        return run()
    end
end


--- Makes the object for what is under a key, and with `automatic` keeps it up to date. What there
-- is now is in it at once.
-- @param key   such as "/routes"
-- @param opts  as for APISIX's other providers: `automatic`, `item_schema`, `checker`, `filter`,
--              `single_item`
function _M.new(key, opts)
    opts = opts or {}
    if opts.automatic and not key then
        return nil, "missing `key` argument"
    end

    local self = setmetatable(directory.new(key, opts), mt)
    if key then
        created[key] = self
    end
    if not opts.automatic then
        return self
    end

    followers[#followers + 1] = self
    local items, revision = mesh.list(directory.prefix(self))
    if items then
        directory.take_all(self, items, revision)
    else
        -- The timer says why, and lists everything when it can.
        last = nil
    end
    return self
end


--- Stops keeping the object up to date.
function _M.close(self)
    self.running = false
    for index, follower in ipairs(followers) do
        if follower == self then
            remove(followers, index)
            return
        end
    end
end


--- The object that was last made for a key.
function _M.fetch_created_obj(key)
    return created[key]
end


--- Who gives the configuration, for people.
function _M.server_version()
    return "apisix-mesh " .. mesh.version
end


--- Starts the timer of this process, before any object is made.
function _M.init_worker()
    -- What objects list for themselves is at this revision or later. Often there is none yet: nginx
    -- sets up its Lua module before modules that are loaded at run time.
    local revision = mesh.revision()
    last = revision and revision > 0 and revision or nil
    return timer_at(0, run)
end


return _M
