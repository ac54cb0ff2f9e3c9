--- db:stats{ shared = true }: one total of several processes, whatever becomes of them.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local fork = require "spec.support.fork"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

-- ThreadSanitizer starts no threads in the child of a process that had some.
local test_fork = os.getenv "TIDEPOOL_TEST_VARIANT" == "tsan" and pending or it

local function new_name()
    return server.new_name "stats_shared_spec"
end

local function options(name, more)
    local where = { url = server.url(), log = { queries = false }, stats = { shared = true },
        pool = { min = 0, max = 3, budget = name } }
    for key, value in pairs(more or {}) do where[key] = value end
    return where
end

local function open(name, more)
    return closing(assert(tidepool.open(options(name, more))))
end

local function files(name)
    return tonumber((server.sh("ls /dev/shm | grep -c " .. name)))
end

local function shared(db)
    return assert(db:stats { shared = true })
end

-- Queries that it makes, two of them with an error, and one transaction; then it waits to be told to end.
local CHILD = [[
    local tidepool, system = require "tidepool", require "system"
    local name, queries, go = arg[1], tonumber(arg[2]), arg[3]
    local db = assert(tidepool.open { log = { queries = false }, stats = { shared = true },
        pool = { min = 0, max = 2, budget = name } })
    for _ = 1, queries - 2 do assert(db:value "select 1") end
    db:query "select 1/0"
    db:query "selekt"
    db:script "begin; commit"
    local held = assert(db:acquire())
    io.stdout:setvbuf "line"
    print(io.open("/proc/self/stat"):read "*n")
    local deadline = system.monotime() + 60
    while not io.open(go) and system.monotime() < deadline do system.sleep(0.01) end
    held:release()
    assert(db:value "select 1")
    assert(db:drain(1000))
]]

local function start(name, queries)
    local go = os.tmpname()
    os.remove(go)
    local handle = child.start(CHILD, { DATABASE_URL = server.url() }, { name, queries, go })
    local pid = tonumber(handle.lines()())
    return {
        finish = function()
            assert(io.open(go, "w")):close()
            local output, code = handle.finish()
            os.remove(go)
            assert.equal(0, code, output)
        end,
        kill = function()
            server.sh("kill -9 " .. pid)
            handle.finish()
        end,
    }
end

describe("statistics of several processes", function()
    it("are one total, which keeps what processes have counted that ended or were killed", function()
        local name = new_name()
        local db = open(name)
        for _ = 1, 5 do db:value "select 1" end
        local one, two, three = start(name, 10), start(name, 20), start(name, 40)
        assert.is_true(server.wait(function() return shared(db).queries == 78 end), shared(db).queries)
        local stats = shared(db)
        assert.equal(4, stats.processes)
        assert.equal(6, stats.query_failures)
        assert.same({ ["22"] = 3, ["42"] = 3 }, stats.errors_by_class)
        assert.same({ database = 6 }, stats.errors)
        assert.equal(3, stats.transactions.committed)
        assert.equal(78, stats.query.count)
        assert.equal(3, stats.active_connections)
        assert.equal(9, stats.max)
        assert.equal(5, db:stats().queries, "its own are its own")

        two.kill()
        stats = shared(db)
        assert.equal(78, stats.queries)
        assert.equal(3, stats.processes)
        assert.equal(2, stats.active_connections)

        one.finish()
        stats = shared(db)
        assert.equal(79, stats.queries, "nothing is lost by an end in good order")
        assert.equal(2, stats.processes)
        assert.equal(1, stats.active_connections)
        three.finish()
        stats = shared(db)
        assert.equal(80, stats.queries)
        assert.equal(1, stats.processes)
        assert.equal(0, stats.active_connections)
        assert.equal(stats.created, stats.total_connections + stats.closed.pool_closed + 1, "that of the killed one")
        assert.equal(1, files(name .. "+stats"))
        db:close()
        assert.equal(80, shared(db).queries)
        assert.equal(0, files(name))
    end)

    it("lose at most the last 200 ms of a process that is killed", function()
        local name = new_name()
        local db = open(name)
        local who, answer = fork.fork()
        if who == "child" then
            local own = assert(tidepool.open(options(name)))
            local conn = assert(own:acquire())
            local began, n = server.now(), 0
            while server.now() - began < 700 do
                assert(conn:value "select 1")
                n = n + 1
            end
            answer(n) -- which ends it at once, without closing anything
        end
        local done = tonumber(answer())
        local kept = shared(db).queries
        assert.is_true(kept <= done and kept >= done * 0.4, kept .. " of " .. done)
    end)

    it("do not count whoever only asks", function()
        local name = new_name()
        local db, asker = open(name), open(name)
        assert.equal(0, shared(asker).processes)
        db:value "select 1"
        assert.is_true(server.wait(function() return shared(asker).queries == 1 end))
        assert.equal(1, shared(asker).processes)
        assert.equal(3, shared(asker).max)
    end)

    it("wake up after a rest", function()
        local name = new_name()
        local db, asker = open(name), open(name)
        for i = 1, 3 do
            db:value "select 1"
            assert.is_true(server.wait(function() return shared(asker).queries == i end))
            assert.is_true(server.wait(function() return shared(asker).active_connections == 0 end))
            server.sleep(450) -- the time that it takes to fall asleep
        end
    end)

    it("have what happens where nothing is lent: callers that give up, calls that fail fast, listeners", function()
        local name = new_name()
        local asker, suspended, listening = open(name), open(name), open(name)
        local away = open(name, { url = "postgresql://u@127.0.0.1:1/db", breaker = { failures = 1 },
            retry = { base_ms = 30000, max_ms = 30000 } })
        local function comes(field, wanted)
            assert.is_true(server.wait(function() return shared(asker)[field] == wanted end, 3000),
                ("%s: %s, not %s"):format(field, shared(asker)[field], wanted))
        end
        suspended:suspend()
        assert.equal("pool_timeout", select(2, suspended:acquire(300)).kind)
        comes("acquire_timeouts", 1)
        comes("waiting_requests", 0)

        assert.equal("connection", select(2, away:value "select 1").kind)
        comes("connect_failures", 1)
        server.sleep(450) -- the time that it takes to fall asleep
        for _ = 1, 5 do away:value "select 1" end
        assert.is_true(away:stats().fail_fast >= 5)
        comes("fail_fast", away:stats().fail_fast)

        local listener = assert(listening:listen "stats_shared")
        comes("listeners", 1)
        asker:notify("stats_shared", "x")
        comes("notifications", 1)
        listener:close()
        comes("listeners", 0)
        listening:close()
        assert.equal(1, shared(asker).notifications)
    end)

    test_fork("begin anew in a forked child", function()
        local name = new_name()
        local db = open(name)
        for _ = 1, 3 do db:value "select 1" end
        assert.equal(3, shared(db).queries)
        local text = fork.run(function()
            db:value "select 1"
            local stats = shared(db)
            db:close()
            return db:stats().queries, stats.queries, stats.processes
        end)
        assert.equal("1\n4\n2", text)
        assert.equal(4, shared(db).queries)
        assert.equal(3, db:stats().queries)
    end)

    it("are shared with pool.max_total, and else when that is asked for", function()
        local alone = closing(assert(tidepool.open { url = server.url(), log = { queries = false } }))
        assert.equal("false", alone:option "stats.shared")
        alone:value "select 1"
        assert.equal(1, shared(alone).processes)
        assert.equal(1, shared(alone).queries)
        assert.is_nil(alone:stats().processes)
        local name = new_name()
        local both = { min = 0, max = 2, budget = name, max_total = 4 }
        local db = closing(assert(tidepool.open { url = server.url(), log = { queries = false }, pool = both }))
        assert.equal("true", db:option "stats.shared")
        db:value "select 1"
        assert.equal(1, shared(db).budget.used)
        assert.equal(2, files(name))
        local off = closing(assert(tidepool.open {
            url = server.url(), log = { queries = false }, pool = both, stats = { shared = false } }))
        off:value "select 1"
        off:value "select 1"
        assert.equal(1, shared(db).queries)
        assert.equal(2, shared(off).queries)
    end)

    it("are an error where the file cannot be used", function()
        local name = new_name()
        local db = open(name)
        local path = ("/dev/shm/tidepool-%s-%s+stats"):format((server.sh "id -u":gsub("%s", "")), name)
        assert(io.open(path, "w")):close()
        server.sh("chmod 666 " .. path)
        db:value "select 1"
        local stats, err = db:stats { shared = true }
        os.remove(path)
        assert.is_nil(stats)
        assert.equal("connection", err.kind)
        assert.is_truthy(err.message:find("stats.shared", 1, true))
        assert.equal(1, db:stats().queries)
        assert.equal(1, shared(db).queries)
    end)
end)
