--- What becomes of objects, of the timer and of the library, as a process lives. Each case is `{sentence, function}`.

local new_mesh = require("provider_mesh").new
local provider = require("provider_worker")

local commit = provider.commit
local errors = provider.errors
local ids = provider.ids
local ngx = ngx
local routes = provider.routes
local same = provider.same
local worker = provider.worker


return {
    {"the first configuration may come later; `new` does not wait for it", function()
        local mesh = new_mesh()
        local this = worker(mesh)
        this.config.init_worker()
        local object = this.config.new("/routes", {automatic = true})
        same(#object.values, 0)
        mesh.settle()
        same(object.need_reload, true)
        same(#this.log.lines, 1)
        same(this.log.lines[1]:find("^warn the first configuration has not come yet") ~= nil, true)
        mesh.commit({["/routes/a"] = "{}"})
        mesh.settle()
        same(ids(object), "a")
        same(object.need_reload, false)
        same(#this.log.lines, 2)
    end},
    {"when changes are not known any more, the list is read and only what differs is taken", function()
        local this = routes({["/routes/a"] = "{}", ["/routes/b"] = "{}", ["/routes/c"] = "{}"})
        local item, version = this.routes:get("a"), this.routes.conf_version
        this.mesh.compact()
        this.mesh.commit({["/routes/b"] = '{"n":1}', ["/routes/c"] = false, ["/routes/d"] = "{}"})
        this.mesh.compact()
        commit(this, {["/upstreams/u"] = "{}"})
        same(this.mesh.lists, 2)
        same(this.json.decoded, 5)
        same(this.routes:get("a"), item)
        same(ids(this.routes), "a b d")
        same(this.routes:get("b").modifiedIndex, 2)
        same(this.routes.conf_version, version + 3)
    end},
    {"another life of the host: what it does not serve goes, once it is ready", function()
        local this = routes({["/routes/a"] = "{}", ["/routes/b"] = "{}"})
        commit(this, {["/routes/a"] = '{"n":1}'})
        this.mesh.restart()
        this.mesh.settle()
        same(ids(this.routes), "a b")
        same(this.log.lines[1]:find("stays in force until it is ready") ~= nil, true)
        commit(this, {["/routes/a"] = '{"n":2}'})
        same(ids(this.routes), "a")
        same(this.routes:get("a").value.n, 2)
    end},
    {"two objects of one key are both kept up to date, until they are closed", function()
        local this = routes({["/routes/a"] = "{}"})
        local other = this.config.new("/routes", {automatic = true})
        commit(this, {["/routes/b"] = "{}"})
        same(ids(this.routes), "a b")
        same(ids(other), "a b")
        this.routes:close()
        commit(this, {["/routes/c"] = "{}"})
        same(ids(this.routes), "a b")
        same(ids(other), "a b c")
    end},
    {"an object without `automatic` holds nothing, one without a key is refused it", function()
        local this = routes({["/routes/a"] = "{}"})
        same(this.config.new():server_version(), "apisix-mesh 0")
        same(#this.config.new("/routes").values, 0)
        local object, err = this.config.new(nil, {automatic = true})
        same(object, nil)
        same(err, "missing `key` argument")
    end},
    {"a filter may close and make objects; nobody misses anything", function()
        local this
        local last, late
        this = routes({}, {
            filter = function()
                if not late then
                    last:close()
                    this.mesh.commit({["/routes/b"] = '{"n":2}'})
                    late = this.config.new("/routes", {automatic = true})
                    ngx.sleep(0.001)
                end
            end,
        })
        -- In this order the closed one makes room for the next, just when it would have its turn.
        last = this.routes
        local other = this.config.new("/routes", {automatic = true})
        commit(this, {["/routes/a"] = "{}", ["/routes/b"] = '{"n":1}'})
        this.mesh.settle()
        same(ids(other), "a b")
        same(ids(late), "a b")
        same(late:get("b").value.n, 2)
    end},
    {"what could not be listed when an object was made is in it later", function()
        local this = routes({["/upstreams/u"] = "{}"})
        this.mesh.failure = this.mesh.codes.PANIC
        local upstreams = this.config.new("/upstreams", {automatic = true})
        this.mesh.failure = nil
        this.mesh.settle()
        same(ids(upstreams), "u")
    end},
    {"where nothing runs the library, one line says what is missing", function()
        local mesh = new_mesh()
        mesh.failure = mesh.codes.NOT_RUNNING
        local this = worker(mesh)
        this.config.init_worker()
        local object = this.config.new("/routes", {automatic = true})
        same(#this.log.lines, 0)
        mesh.settle()
        same(errors(this, "must load ngx_apisix_mesh_module and hold an apisix_mesh block"), 1)
        same(#this.log.lines, 1)
        mesh.failure = nil
        mesh.commit({["/routes/a"] = "{}"})
        mesh.settle()
        same(ids(object), "a")
    end},
    {"where config.yaml says how, it starts the library; not before nginx is through with its modules", function()
        local mesh = new_mesh()
        mesh.failure = mesh.codes.NOT_RUNNING
        local settings = {xds = "grpc://127.0.0.1:15010", state_dir = "/var/lib/apisix-mesh"}
        local this = worker(mesh, function(this)
            this.yaml.conf = {deployment = {apisix_mesh = settings}}
        end)
        this.config.init_worker()
        same(mesh.started, nil)
        mesh.settle()
        same(mesh.started, settings)
        same(errors(this), 0)
    end},
    {"a library that would not be shared is not started", function()
        local mesh = new_mesh()
        mesh.failure = mesh.codes.NOT_RUNNING
        local this = worker(mesh, function(this)
            this.yaml.conf = {deployment = {apisix_mesh = {xds = "grpc://127.0.0.1:15010"}}}
        end)
        this.config.init_worker()
        mesh.settle()
        same(mesh.started, nil)
        same(errors(this, "deployment.apisix_mesh.state_dir of config.yaml is not set"), 1)
    end},
    {"a failure of the library keeps everything, is told once, and what was missed is made up for", function()
        local this = routes({["/routes/a"] = "{}"})
        this.mesh.commit({["/routes/b"] = "{}"})
        this.mesh.failure = this.mesh.codes.PANIC
        this.mesh.settle()
        same(ids(this.routes), "a")
        same(errors(this, "the mesh library gives no news"), 1)
        this.mesh.failure = nil
        this.mesh.settle()
        same(ids(this.routes), "a b")
        same(errors(this), 1)
    end},
    {"an unforeseen error costs a full list, not the timer", function()
        local this = routes({["/routes/a"] = "{}"})
        local changes = this.mesh.changes
        function this.mesh.changes()
            this.mesh.changes = changes
            return {{value = "unforeseen"}}, this.mesh.revision()
        end
        commit(this, {["/routes/b"] = "{}"})
        this.mesh.settle()
        same(ids(this.routes), "a b")
        same(errors(this, "the configuration cannot be taken"), 1)
    end},
    {"it uses nothing of nginx that the stream subsystem lacks", function()
        local this = routes({["/routes/a"] = "{}"}, nil, function()
            _G.ngx = {
                config = {subsystem = "stream"},
                sleep = ngx.sleep,
                timer = {at = ngx.timer.at},
                worker = {exiting = ngx.worker.exiting},
            }
        end)
        commit(this, {["/routes/b"] = "{}"})
        same(ids(this.routes), "a b")
        this.mesh.failure = this.mesh.codes.NOT_RUNNING
        this.mesh.settle()
        same(errors(this), 1)
    end},
    {"a worker that exits stops looking, and stops the library if it started it", function()
        local exiting, real = false, ngx.worker.exiting
        ngx.worker.exiting = function() return exiting end
        local this = routes({["/routes/a"] = "{}"}, nil, function(this)
            this.yaml.conf = {deployment = {apisix_mesh = {state_dir = "/var/lib/apisix-mesh"}}}
        end)
        ngx.worker.exiting = real
        this.mesh.failure = this.mesh.codes.NOT_RUNNING
        this.mesh.settle()
        same(this.mesh.started ~= nil, true)
        exiting = true
        -- Another provider of this worker goes on: when it has looked often, this one would have too.
        local looks, other = this.mesh.looks, routes({})
        for _ = 1, 5 do
            other.mesh.settle()
        end
        same(this.mesh.looks - looks <= 1, true)
        same(this.mesh.started, nil)
        same(ids(this.routes), "a")
    end},
    {"a timer that nginx ends early does nothing", function()
        local real, timer = ngx.timer.at, nil
        ngx.timer.at = function(_, callback)
            timer = callback
            return true
        end
        local this = routes({["/routes/a"] = "{}"})
        ngx.timer.at = real
        timer(true)
        same(this.mesh.looks, 1)
    end},
    {"a new timer goes on after a while; without one the old timer does", function()
        local real_at, real_sleep, timers = ngx.timer.at, ngx.sleep, 0
        ngx.sleep = function() real_sleep(0.001) end
        ngx.timer.at = function(...)
            timers = timers + 1
            if timers == 2 then
                return nil, "too many pending timers"
            end
            return real_at(...)
        end
        local this = routes({["/routes/a"] = "{}"})
        ngx.timer.at, ngx.sleep = real_at, real_sleep
        while timers < 4 do
            this.mesh.settle()
        end
        same(this.log.lines[1], "warn no new timer, going on with this one: too many pending timers")
        commit(this, {["/routes/b"] = "{}"})
        same(ids(this.routes), "a b")
    end},
}
