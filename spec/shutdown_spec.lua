--- Signals that end a program in an orderly way, whatever it is busy with.
local child = require "spec.support.child"
local server = require "spec.support.server"
local tidepool = require "tidepool"

-- What every program begins with: a database that says what it is called, and a way to spin that comes to an end.
local BEGIN = [[
    io.stdout:setvbuf "line"
    local core = require "tidepool.core"
    local tidepool = require "tidepool"
    local url, signals = arg[1], { "TERM", "INT", drain_ms = tonumber(arg[2]) }
    local db = assert(tidepool.open { url = url, pool = { min = 0, max = 2 }, log = { queries = false } })
    local function ready()
        local file = io.open "/proc/self/stat"
        print("ready", file:read "*n")
        file:close()
    end
    local function spin(condition)
        local stop = core.now() + 15000
        while not (condition and condition()) do
            if core.now() >= stop then print "nothing came" os.exit(9) end
        end
    end
]]

local count = 0

-- Starts a program, calls act(pid) when it is ready, and returns what it printed afterwards, its exit code and how many
-- milliseconds after that it had ended. `key` of its inserts is in arg[3].
local function run(program, drain_ms, act)
    count = count + 1
    local key = ("%s %d"):format(program:sub(1, 20), count)
    local url = server.url { application_name = "shutdown_spec" }
    local handle = child.start(BEGIN .. program, {}, { url, drain_ms, key })
    local pid, before = nil, {}
    for line in handle.lines() do
        pid = line:match "^ready\t(%d+)"
        if pid then
            break
        end
        before[#before + 1] = line
    end
    before = table.concat(before, "\n")
    if not pid then
        error("it has ended before it was ready: " .. before)
    end
    local began = server.now()
    act(pid)
    local output, code = handle.finish()
    output = output:gsub("Terminated\n$", "") -- of the shell's
    local rows = server.psql(("select count(*) from shutdown_done where key = '%s'"):format(key))
    return { before = before, output = output, code = code, ms = server.now() - began, rows = tonumber(rows) }
end

local function signal(name, more)
    return function(pid)
        server.sleep(100) -- it is in the midst of it by then
        server.sh(("kill -%s %s"):format(name, pid))
        if more then
            more(pid)
        end
    end
end

setup(function()
    server.psql "drop table if exists shutdown_done; create table shutdown_done (key text)"
end)

teardown(function()
    server.psql "drop table shutdown_done"
end)

describe("at the signal", function()
    it("what is under way is done first, and the process ends as by the signal", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            ready()
            db:transaction(function(tx)
                assert(tx:query "select pg_sleep(0.5)")
                return assert(tx:exec("insert into shutdown_done values ($1)", arg[3]))
            end)
            spin()
        ]], 10000, signal "TERM")
        assert.equal(143, ended.code, ended.output)
        assert.equal(1, ended.rows)
        assert.is_true(ended.ms < 5000, ended.ms)
    end)

    it("whoever waits for a connection is refused, and whoever has one goes on", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            local conn = assert(db:acquire())
            db:suspend()
            ready()
            print(select(2, db:query "select 1").kind)
            print(select(2, db:query "select 1").kind)
            print(select(2, assert(tidepool.open { url = url, log = { queries = false } }):query "select 1").kind)
            assert(conn:exec("insert into shutdown_done values ($1)", arg[3]))
            print(db:state().state)
            conn:release()
            spin()
        ]], 10000, signal "TERM")
        assert.equal("pool_closed\npool_closed\npool_closed\ndraining\n", ended.output)
        assert.equal(143, ended.code)
        assert.equal(1, ended.rows)
    end)

    it("a program that runs Lua code ends, too, and what it has printed is there", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            assert(db:query "select 1")
            ready()
            io.stdout:setvbuf "full"
            io.write "half of a line"
            spin()
        ]], 10000, signal "TERM")
        assert.equal(143, ended.code, ended.output)
        assert.equal("half of a line", ended.output)
        assert.is_true(ended.ms < 3000, ended.ms)
    end)

    it("what does not come back is waited for as long as was said", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            local conn = assert(db:acquire())
            ready()
            assert(conn)
            spin()
        ]], 300, signal "TERM")
        assert.equal(143, ended.code, ended.output)
        assert.is_true(ended.ms >= 400 and ended.ms < 3000, ended.ms)
    end)

    it("a second one ends the process at once, whichever it is", function()
        for second, code in pairs { TERM = 143, INT = 130 } do
            local ended = run([[
                assert(tidepool.shutdown_on(signals))
                local conn = assert(db:acquire())
                ready()
                assert(conn:query "select pg_sleep(20)")
            ]], 30000, signal("TERM", signal(second)))
            assert.equal(code, ended.code, ended.output)
            assert.is_true(ended.ms < 3000, ended.ms)
        end
    end)

    it("the interpreter's own handler of SIGINT does not come in between", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            ready()
            db:transaction(function(tx)
                assert(tx:query "select pg_sleep(0.3)")
                return assert(tx:exec("insert into shutdown_done values ($1)", arg[3]))
            end)
            spin()
        ]], 10000, signal "INT")
        assert.equal(130, ended.code, ended.output)
        assert.equal("", ended.output)
        assert.equal(1, ended.rows)
    end)

    it("a program that ends by itself does so as it likes", function()
        local ended = run([[
            assert(tidepool.shutdown_on(signals))
            local conn = assert(db:acquire())
            ready()
            spin(function() return db:state().state == "draining" end)
            print "goodbye"
            os.exit(7)
        ]], 30000, signal "TERM")
        assert.equal("goodbye\n", ended.output)
        assert.equal(7, ended.code)
    end)

    local loops = {
        cqueues = [[
            local cqueues = require "cqueues"
            local loop = cqueues.new()
            local function spawn(fn) loop:wrap(fn) end
            local function sleep(s) cqueues.sleep(s) end
            local function go() assert(loop:loop()) end
        ]],
        luv = [[
            local uv = require "luv"
            local function spawn(fn)
                local timer = uv.new_timer()
                timer:start(0, 0, function() timer:close() assert(coroutine.resume(coroutine.create(fn))) end)
            end
            local function sleep(s)
                local task, timer = coroutine.running(), uv.new_timer()
                timer:start(s * 1000, 0, function() timer:close() assert(coroutine.resume(task)) end)
                coroutine.yield()
            end
            local function go() uv.run() end
        ]],
    }
    for name, prelude in pairs(loops) do
        if pcall(require, name) then
            it("tasks under " .. name .. " go on and are refused as others are", function()
                local ended = run(prelude .. [[
                    assert(tidepool.shutdown_on(signals))
                    for _ = 1, 2 do
                        spawn(function()
                            db:transaction(function(tx)
                                assert(tx:query "select pg_sleep(0.5)")
                                return assert(tx:exec("insert into shutdown_done values ($1)", arg[3]))
                            end)
                        end)
                    end
                    spawn(function()
                        sleep(0.03)
                        local _, err = db:query "select 1"
                        print(err and err.kind)
                        local ticks = 0
                        while true do ticks = ticks + 1 sleep(0.01) if ticks == 5 then print "ticks" end end
                    end)
                    spawn(function() sleep(0.05) ready() end)
                    go()
                ]], 10000, signal "TERM")
                assert.equal("pool_closed\nticks\n", ended.output)
                assert.equal(143, ended.code)
                assert.equal(2, ended.rows)
            end)
        end
    end
end)

describe("shutdown_on", function()
    -- ThreadSanitizer starts no threads in the child of a process that had some, and keeps its signals.
    local test = os.getenv "TIDEPOOL_TEST_VARIANT" == "tsan" and pending or it
    test("leaves a forked child to what the signal does by itself, and the parent alone", function()
        local ended = run([[
            local process = require "spec.support.process"
            assert(tidepool.shutdown_on(signals))
            local conn = assert(db:acquire())
            local pid = process.fork()
            if pid == 0 then spin() end
            os.execute("kill -TERM " .. pid)
            print(process.wait(pid))
            pid = process.fork()
            if pid == 0 then
                assert(tidepool.shutdown_on { "TERM", drain_ms = 100 })
                assert(db:query "select 1")
                os.execute "kill -TERM $PPID"
                spin()
            end
            print(process.wait(pid))
            print(conn:value "select 1", db:value "select 2", db:state().state)
            conn:release()
            ready()
            spin()
        ]], 10000, signal "TERM")
        assert.equal("signal\t15\nsignal\t15\n1\t2\tconnected", ended.before)
        assert.equal(143, ended.code, ended.output)
    end)

    it("refuses a signal that has a handler", function()
        if not pcall(require, "luv") then
            return
        end
        local output, code = child.run(BEGIN .. [[
            local uv = require "luv"
            local handle = uv.new_signal()
            handle:start("sigterm", print)
            local _, err = tidepool.shutdown_on { "INT", "TERM" }
            print(err.kind, err.message)
            handle:stop()
            handle:close()
            uv.run()
            print(tidepool.shutdown_on { "INT", "TERM" }, tidepool.shutdown_on { "TERM", "USR1", drain_ms = 10 })
        ]], {}, { server.url() })
        assert.equal(0, code, output)
        assert.truthy(output:find("^validation\tthere is a handler for SIGTERM already[^\n]*\ntrue\ttrue\n$"), output)
    end)

    it("raises an error for what is no signal, and for what it does not know", function()
        assert.error_matches(function() tidepool.shutdown_on { "KILL" } end, "unknown signal 'KILL' %(known: TERM, INT")
        local _, err = pcall(function() tidepool.shutdown_on { "SIGTERM" } end)
        assert.truthy(err:find("shutdown_spec.lua:", 1, true), err)
        assert.error_matches(function() tidepool.shutdown_on { "TERM", drain = 5 } end, "unknown option 'drain'")
        assert.error_matches(function() tidepool.shutdown_on {} end, "no signal is named")
        assert.error_matches(function() tidepool.shutdown_on "TERM" end, "a list of signals expected")
        assert.has_error(function() tidepool.shutdown_on { "TERM", drain_ms = -1 } end)
        assert.error_matches(function() tidepool.shutdown_on { "TERM", drain_ms = "soon" } end, "must be milliseconds")
    end)
end)
