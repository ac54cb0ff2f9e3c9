--- What happens to the server: it stops, is stopped, crashes and comes back; what callers see and how soon it is over.
-- Only Lua 5.4: what waits, gives up and repeats is the core.
-- Alone: how soon all is well again depends on who else is busy.
local lab = require "spec.faults.lab"
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local tidepool = require "tidepool"
local expect = require "spec.support.expect"

local fails, takes = expect.fails, expect.takes
local ends_at = lab.ends_at

describe("a server that stops at once and comes back", function()
    local ways = {
        { "by kill -9", function() server.kill9() end },
        { "without a farewell", function() server.stop_immediately() end },
        { "in an orderly way", function() server.stop_fast() end },
    }
    after_each(function()
        pcall(server.start_again) -- a test that failed may have left it as it was
    end)

    loops.each(function(loop)
        for _, way in ipairs(ways) do
            it(way[1] .. " fails what was under way, once, and serves those who wait when it accepts", function()
                local db = loop.open { pool = { min = 0, max = 3, acquire_timeout_ms = 20000 } }
                local back, waited, held
                loop.run(function()
                    local began, err = server.now(), select(2, db:query "select pg_sleep(20)")
                    assert.equal("connection", err.kind, tostring(err))
                    assert.equal(1, err.attempts)
                    held = server.now() - began
                end, function()
                    assert.is_true(loop.wait(function()
                        return db:value "select count(*) from pg_stat_activity where wait_event = 'PgSleep'" == 1
                    end))
                    local conn = assert(db:acquire())
                    way[2]()
                    local failure -- after kill -9 a backend goes on until it looks
                    assert.is_true(loop.wait(function()
                        failure = select(2, conn:query "select 1")
                        return failure ~= nil
                    end))
                    assert.equal("connection", failure.kind, tostring(failure))
                    conn:release()
                    loop.spawn(function()
                        assert.equal(1, assert(db:value "select 1"))
                        waited = server.now()
                    end)
                    loop.sleep(100)
                    server.start_again()
                    back = server.now()
                end)
                assert.is_true(waited - back <= 1000, ("served %.0f ms after it accepted"):format(waited - back))
                assert.is_true(held < 10000, "what was under way heard of it when it happened")
                assert.equal(0, db:stats().retries)
                assert.equal("connected", db:state().state)
                assert.equal(0, db:stats().waiting_requests)
            end)
        end
    end, { "cqueues" })
end)

-- The process is stopped while fn runs.
local function while_stopped(pid, fn)
    server.sh(("kill -STOP %d"):format(pid))
    local ok, err = pcall(fn)
    server.sh(("kill -CONT %d"):format(pid))
    if not ok then error(err, 0) end
end

describe("a server process that is stopped (SIGSTOP)", function()
    it("holds up its own statement to the deadline, and nobody else", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open { url = server.url { application_name = name } }
            local pid = db:value "select pg_backend_pid()"
            while_stopped(pid, function()
                ends_at(150, function() return fails("timeout", db:query { "select 1", timeout_ms = 150 }) end)
                assert.equal(2, takes(0, 200 + lab.LATE_MS, function() return db:value "select 2" end))
            end)
            assert.is_true(server.wait(function() return db:stats().mending == 0 end))
            assert.equal(3, db:value "select 3")
        end)
    end)

    it("does not keep a transaction whose deadline has passed for ever", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open { url = server.url { application_name = name } }
            local pid
            takes(600, 1600 + lab.LATE_MS, function()
                fails("timeout", db:transaction(function(tx)
                    pid = tx:value "select pg_backend_pid()"
                    server.sh(("kill -STOP %d"):format(pid))
                    server.sleep(610)
                end, { deadline_ms = 600 }))
            end)
            server.sh(("kill -CONT %d"):format(pid))
            assert.equal(1, db:value "select 1")
        end)
    end)

    it("if it is the one that accepts, holds up new connections to the deadline, and not those there are", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open {
                url = server.url { application_name = name }, connect_timeout_ms = 300, pool = { min = 0, max = 2 },
            }
            local conn = assert(db:acquire())
            local file = assert(io.open(server.pgdata .. "/postmaster.pid"))
            local postmaster = file:read "n"
            file:close()
            while_stopped(postmaster, function()
                ends_at(150, function() return fails("pool_timeout", db:acquire(150)) end)
                local err = ends_at(400, function() return fails("pool_timeout", db:acquire(400)) end)
                assert.truthy(err.message:find("the server did not answer", 1, true), err.message)
                assert.equal(1, conn:value "select 1")
            end)
            conn:release()
            assert.equal(2, db:value "select 2")
        end)
    end)
end)

describe("of several hosts one that is silent", function()
    local silent, port

    setup(function()
        silent = assert(require "socket".bind("127.0.0.1", 0)) -- the kernel accepts, and nobody says a word
        port = select(2, silent:getsockname())
    end)
    teardown(function() silent:close() end)

    local function open(name, hosts, ports, more)
        local where = {
            host = hosts, port = ports:gsub("silent", port):gsub("real", server.port), user = server.user,
            password = server.password, database = server.database, application_name = name, log = { queries = false },
            connect_timeout_ms = 300, pool = { min = 0, max = 2, acquire_timeout_ms = 20000 },
        }
        for option, value in pairs(more or {}) do where[option] = value end
        return assert(tidepool.open(where))
    end

    local ways = {
        ["is passed by"] = { "127.0.0.1,127.0.0.1", "silent,real" },
        ["is passed by, whatever its name"] = { "localhost,localhost", "silent,real" },
        ["is passed by in the middle, too"] = { "/nowhere,127.0.0.1,127.0.0.1", "5432,silent,real" },
        ["is passed by as often as it is there"] = { "127.0.0.1,127.0.0.1,127.0.0.1", "silent,silent,real" },
        ["is passed by behind one that will do in the end"] = {
            "127.0.0.1,127.0.0.1", "real,silent", { target_session_attrs = "prefer-standby" },
        },
        ["is passed by with a password that the program makes"] = {
            "127.0.0.1,127.0.0.1", "silent,real", { password = function() return server.password end },
        },
    }
    for how, way in pairs(ways) do
        it(how, function()
            lab.leaves_nothing(function(name)
                local db <close> = open(name, way[1], way[2], way[3])
                assert.equal(server.port, takes(299, 5000, function() return tonumber(db:value "show port") end))
            end)
        end)
    end

    it("is told of when all are", function()
        local db <close> = open("silent", "127.0.0.1,127.0.0.1", "silent,silent")
        local err = takes(1500, 6000, function() return fails("connection", db:acquire(1500)) end)
        assert.matches("did not answer", err.message)
        assert.is_true(db:stats().connect_failures >= 1)
    end)
end)
