--- A server that dies, restarts, or ends connections: what callers see, how soon it is over, and what is left behind.
-- Alone: how soon all is well again depends on who else is busy.
local child = require "spec.support.child"
local lab = require "spec.faults.lab"
local server = require "spec.support.server"
local system = require "system"
local expect = require "spec.support.expect"

local fails = expect.fails
local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 4 } }

-- Ends backends and waits until they have gone. Then as long as a connection has to rest to be looked at when it is
-- lent: before that the pool relies on the housekeeper, which a busy machine may keep from seeing the end at once.
local function terminate(killer, pids)
    for _, pid in ipairs(pids) do killer:value("select pg_terminate_backend($1)", pid) end
    assert.is_true(server.wait(function()
        return killer:value("select count(*) from pg_stat_activity where pid = any($1)", pids) == 0
    end))
    server.sleep(15)
end

-- Uses a pool of 4 for `seconds` in every way: queries, transactions, connections that are held. Prints how long calls
-- took at most, what went wrong, when things went well, and the descriptors before and after.
local LOAD = [[
    local tidepool, system = require "tidepool", require "system"
    local url, seconds = arg[1], tonumber(arg[2])
    local core = require "tidepool.core"
    local db = assert(tidepool.open {
        url = url, query_timeout_ms = 500, log = { queries = false },
        pool = { min = 2, max = 4, acquire_timeout_ms = 500 }, retry = { base_ms = 10000, max_ms = 60000 },
    })
    local function descriptors()
        local count = 0
        for _ in require "lfs".dir "/proc/self/fd" do count = count + 1 end
        return count
    end
    local longest, calls, failures, kinds, odd = 0, 0, 0, {}, nil
    local function call(fn, ...)
        local began = core.now()
        local value, err = fn(...)
        longest = math.max(longest, core.now() - began)
        calls = calls + 1
        if err then
            failures = failures + 1
            kinds[err.kind] = (kinds[err.kind] or 0) + 1
        end
        if not err and value == nil then odd = "neither a result nor an error" end
        if err then print("failed", system.gettime()) else print("went well", system.gettime()) end
        return value
    end
    local function transaction(tx)
        local value, err = tx:value "select 2"
        if err then return nil, err end
        return tx:value "select 3"
    end
    local held = {}
    local function hold(i)
        held[i] = held[i] or call(db.acquire, db)
        if held[i] and not call(held[i].value, held[i], "select 1") then
            held[i]:release()
            held[i] = nil
        end
    end
    local function fill()
        for i = 1, 3 do hold(i) end
        call(db.value, db, "select 1")
    end
    fill()
    local before = descriptors()
    local stop = core.now() + seconds * 1000
    while core.now() < stop do
        fill()
        call(db.value, db, "select $1::int", calls)
        call(db.transaction, db, transaction)
        for i = 1, 3 do
            if calls % 3 == 0 and held[i] then held[i]:release() held[i] = nil end
        end
        core.sleep(2)
    end
    fill()
    for i = 1, 3 do if held[i] then held[i]:release() end end
    stop = core.now() + 2000 -- connections that are being closed have a descriptor until then
    while descriptors() > before and core.now() < stop do core.sleep(5) end
    local stats = db:stats()
    print("summary", calls, failures, longest, before, descriptors(), stats.total_connections, odd or "nothing odd")
    for kind, count in pairs(kinds) do print("kind", kind, count) end
    io.stdout:flush()
    io.read "a"
    db:close()
    print "closed"
]]

-- Runs the load while `fault` happens to the server. Returns the times of good and bad calls and the summary.
local function under_load(seconds, fault)
    local name = "faults_spec load"
    local went_well, failed, kinds, summary = {}, {}, {}, nil
    local arguments = { server.url { application_name = name }, seconds }
    local load = child.start("io.stdout:setvbuf 'line'\n" .. LOAD, {}, arguments)
    local done = false
    for line in load.lines() do
        local what, rest = line:match "^([^\t]+)\t?(.*)$"
        if what == "went well" then
            went_well[#went_well + 1] = tonumber(rest)
        elseif what == "failed" then
            failed[#failed + 1] = tonumber(rest)
        elseif what == "kind" then
            kinds[rest:match "^%S+"] = true
        elseif what == "summary" then
            summary = {}
            for word in rest:gmatch "[^\t]+" do summary[#summary + 1] = tonumber(word) or word end
        else
            assert.equal("closed", line)
        end
        if not done and #went_well >= 200 then
            done = true
            fault()
        end
    end
    local output, code = load.finish()
    assert.equal(0, code, output)
    assert.is_table(summary)
    local calls, failures, longest, before, after, total, odd = table.unpack(summary)
    return {
        went_well = went_well, failed = failed, kinds = kinds, calls = calls, failures = failures, longest = longest,
        descriptors = after - before, total = total, odd = odd, name = name,
    }
end

-- When the server said last that it accepts connections, in seconds since 1970.
local function accepting_since()
    local file = assert(io.open(server.socket .. "/server.log"))
    local text = file:read "a"
    file:close()
    local last
    for stamp in text:gmatch "([%d%-]+ [%d:]+%.%d+) %S+ %[%d+%] LOG:  database system is ready to accept connections" do
        last = stamp
    end
    local year, month, day, hour, minute, second = last:match "(%d+)%-(%d+)%-(%d+) (%d+):(%d+):([%d.]+)"
    local now = os.time()
    local offset = os.difftime(now, os.time(os.date("!*t", now)))
    return os.time { year = year, month = month, day = day, hour = hour, min = minute, sec = 0, isdst = false }
        + offset + tonumber(second)
end

local function first_after(times, moment)
    for _, time in ipairs(times) do
        if time > moment then return time end
    end
end

local function assert_survived(report)
    assert.equal("nothing odd", report.odd)
    assert.is_true(report.failures > 0, "the fault was felt")
    -- A transaction has an acquire timeout and a query timeout for each of its statements.
    assert.is_true(report.longest <= 1000 + 2 * lab.LATE_MS, ("a call took %.0f ms"):format(report.longest))
    for kind in pairs(report.kinds) do
        assert.truthy(({ connection = true, timeout = true, pool_timeout = true, commit_unknown = true })[kind], kind)
    end
    assert.is_true(report.descriptors <= 0, ("%d descriptors more than before"):format(report.descriptors))
    assert.is_true(report.total <= 4)
end

describe("under load, the pool", function()
    it("survives kill -9 of the postmaster and serves within a second of its restart", function()
        local report = under_load(5, function()
            server.kill9()
            server.sleep(800) -- long enough for a pool that backs off to be late
            server.start_again()
        end)
        assert_survived(report)
        local accepting = accepting_since()
        local recovered = first_after(report.went_well, accepting)
        assert.is_number(recovered, "it never went well again")
        local after = recovered - accepting
        assert.is_true(after <= 1.0, ("served %.3f s after the server accepted"):format(after))
        if os.getenv "TIDEPOOL_FIGURES" then
            io.write(("kill -9: %d calls, %d failed, the longest %.0f ms; served %.0f ms after the server accepted\n")
                :format(report.calls, report.failures, report.longest, after * 1000))
        end
        assert.is_true(server.wait(function() return server.backends(report.name) == 0 end, 2000))
    end)

    it("survives an orderly restart", function()
        local report = under_load(4, function()
            server.stop_fast()
            server.start_again()
        end)
        assert_survived(report)
        assert.is_number(first_after(report.went_well, accepting_since()))
    end)

    it("has at most max connections on the server at any time", function()
        local most, samples = 0, 0
        local killer <close> = open()
        local report = under_load(2, function()
            local stop = system.gettime() + 1
            while system.gettime() < stop do
                local pids = assert(killer:query { [[select pid from pg_stat_activity
                    where application_name = 'faults_spec load']], as = "arrays" })
                most = math.max(most, #pids)
                samples = samples + 1
                if samples % 20 == 0 then
                    for _, row in ipairs(pids) do killer:value("select pg_terminate_backend($1)", row[1]) end
                end
                server.sleep(2)
            end
        end)
        assert_survived(report)
        assert.is_true(samples > 50)
        assert.is_true(most > 0 and most <= 4, most)
    end)
end)

describe("connections that are ended while they are idle", function()
    it("are replaced unseen by calls, transactions and loans, 50 times", function()
        local db <close> = open()
        local killer <close> = open()
        for i = 1, 50 do
            local conns = {}
            for k = 1, 3 do conns[k] = assert(db:acquire()) end
            local pids = {}
            for k, conn in ipairs(conns) do
                pids[k] = conn:backend_pid()
                conn:release()
            end
            terminate(killer, pids)
            assert.equal(i, db:value("select $1::int", i))
            assert.equal(i, db:transaction(function(tx) return tx:value("select $1::int", i) end))
            local conn <close> = assert(db:acquire())
            assert.equal(i, conn:value("select $1::int", i))
        end
        local stats = db:stats()
        assert.equal(0, stats.query_failures)
        assert.is_true(stats.closed.dead >= 100)
    end)

    it("are replaced unseen by a statement that was used on them before", function()
        local db <close> = open { pool = { min = 0, max = 1 } }
        local killer <close> = open()
        for i = 1, 50 do
            local pid = db:value "select pg_backend_pid()"
            terminate(killer, { pid })
            assert.not_equal(pid, assert(db:value "select pg_backend_pid()"), "round " .. i)
        end
    end)

    it("are replaced unseen by a program that acquires right after that", function()
        local db <close> = open { pool = { min = 0, max = 1 } }
        local killer <close> = open()
        for i = 1, 50 do
            local conn = assert(db:acquire())
            local pid = conn:backend_pid()
            assert.equal(i, conn:value("select $1::int", i))
            conn:release()
            terminate(killer, { pid })
            conn = assert(db:acquire())
            if i % 3 == 0 then assert.is_true(conn:ping()) end
            if i % 3 == 1 then assert.not_equal(pid, conn:backend_pid()) end
            assert.equal(i, conn:value("select $1::int", i))
            assert.not_equal(pid, conn:backend_pid())
            assert.is_true(conn:release())
        end
        assert.equal(0, db:stats().query_failures)
    end)

    it("are replaced unseen by a statement that is new to them, even while they are ending", function()
        local db <close> = open { pool = { min = 0, max = 1 } }
        local killer <close> = open()
        for i = 1, 100 do
            local pid = db:value "select pg_backend_pid()"
            killer:value("select pg_terminate_backend($1)", pid)
            assert.equal(i, db:value(("select %d"):format(i)))
        end
    end)

    it("by an orderly restart are replaced unseen", function()
        local db <close> = open()
        assert.equal(1, db:value "select 1")
        server.stop_fast()
        server.start_again()
        assert.equal(1, db:value "select 1")
        assert.equal(0, db:stats().query_failures)
    end)

    it("by kill -9 of the postmaster are replaced unseen", function()
        local db <close> = open()
        assert.equal(1, db:value "select 1")
        server.kill9()
        server.start_again()
        assert.equal(1, db:value "select 1")
        assert.equal(0, db:stats().query_failures)
    end)
end)

describe("a statement whose connection is ended while it runs", function()
    local killer

    setup(function()
        killer = open()
        assert(killer:script [[
            drop sequence if exists faults_runs; create sequence faults_runs;
            create or replace function faults_dies(times bigint) returns bigint language plpgsql as $$
            declare run bigint := nextval('faults_runs');
            begin
                if run <= times then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5); end if;
                return run;
            end $$;
        ]])
    end)

    before_each(function()
        assert(killer:exec "alter sequence faults_runs restart")
    end)

    teardown(function()
        assert(killer:script "drop function faults_dies; drop sequence faults_runs")
        killer:close()
    end)

    local function runs()
        return killer:value "select last_value from faults_runs"
    end

    it("fails with kind connection and the server's code, and is not repeated", function()
        local db <close> = open()
        local err = fails("connection", db:value("select faults_dies($1)", 5))
        assert.equal("57P01", err.code)
        assert.equal("admin_shutdown", err.name)
        assert.equal(1, err.attempts)
        assert.equal(1, runs())
        assert.equal(0, db:stats().retries)
        assert.equal(2, db:value("select faults_dies($1)", 1))
    end)

    it("is repeated when the call says idempotent", function()
        local db <close> = open()
        assert.equal(3, db:value({ "select faults_dies($1)", idempotent = true }, 2))
        assert.equal(2, db:stats().retries)
    end)

    it("is repeated as often as retry.attempts says, not more", function()
        local db <close> = open { retry = { attempts = 2 } }
        local err = fails("connection", db:value({ "select faults_dies($1)", idempotent = true }, 9))
        assert.equal(2, err.attempts)
        assert.equal(2, runs())
    end)

    it("is not repeated on an acquired connection, which says that it is lost", function()
        local db <close> = open()
        local conn = assert(db:acquire())
        fails("connection", conn:value({ "select faults_dies($1)", idempotent = true }, 5))
        assert.equal(1, runs())
        assert.equal("unknown", conn:transaction_state())
        assert.truthy(fails("connection", conn:query "select 1").message:find("lost", 1, true))
        assert.is_true(conn:release())
        assert.is_true(server.wait(function() return db:stats().closed.dead == 1 end, 1000))
        assert.equal(1, db:value "select 1")
    end)

    it("is not repeated past the deadline of its call", function()
        local db <close> = open { retry = { attempts = 1000, base_ms = 50 } }
        local began = server.now()
        assert.is_nil((db:value({ "select faults_dies($1)", idempotent = true, timeout_ms = 200 }, 1000)))
        local took = server.now() - began
        assert.is_true(took < 200 + 2 * lab.LATE_MS, took)
        assert.is_true(runs() > 1)
    end)
end)

describe("a server that crashes", function()
    it("fails what was running, and serves the next call when it has recovered", function()
        local db <close> = open { pool = { min = 0, max = 4, acquire_timeout_ms = 10000 } }
        local a, b = assert(db:acquire()), assert(db:acquire())
        local pid = a:backend_pid()
        assert.equal(1, a:value "select 1")
        server.sh(("kill -9 %d"):format(pid)) -- the postmaster ends all others, too
        fails("connection", a:value "select 1")
        assert.is_nil((b:value "select pg_sleep(5)"))
        a:release()
        b:release()
        assert.equal(1, db:value { "select 1", timeout_ms = 10000 })
        assert.equal("connected", db:state().state)
    end)
end)
