--- Leaks and timeouts that explain themselves: who has the connections, for how long, and what they wait for.
-- Only Lua 5.4: it is the core that waits, and does so for any Lua; what the others have of it is in meta_spec.lua.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local fails = require("spec.support.expect").fails
local lab = require "spec.faults.lab"
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

-- A database, and the lines of its log as {level, message, event}.
local function open(options, pool)
    local lines = {}
    local where = { url = server.url(), pool = { min = 0, max = 2 } }
    where.log = { queries = false, sink = function(level, message, fields)
        lines[#lines + 1] = { level = level, message = message, event = fields.event }
    end }
    for name, value in pairs(options or {}) do
        where[name] = value
    end
    for name, value in pairs(pool or {}) do
        where.pool[name] = value
    end
    return assert(tidepool.open(where)), lines
end

local function line_here()
    return debug.getinfo(2, "l").currentline
end

local function listen(db, name)
    local list = {}
    db:on(name, function(event) list[#list + 1] = event end)
    return list
end

-- Events are told by calls: these use the connections that are not held.
local function await(db, ms, condition)
    return server.wait(function() return condition() or db:ping() and condition() end, ms)
end

local function has(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

-- How many of the log's lines are of an event.
local function count(lines, name)
    local n = 0
    for _, line in ipairs(lines) do
        n = n + (line.event == name and 1 or 0)
    end
    return n
end

describe("a connection that is held for longer than pool.leak_after_ms", function()
    it("is warned of once, with who has it, and again when it comes back", function()
        local db, lines = open(nil, { leak_after_ms = 100 })
        closing(db)
        local held, returned = listen(db, "held"), listen(db, "returned")
        local began = server.now()
        local conn, line = assert(db:acquire()), line_here()
        assert(conn:exec "begin")
        assert.equal(1, conn:value "select 1 as the_last")
        assert.is_true(await(db, 3000, function() return #held > 0 end))
        assert.is_true(server.now() - began >= 100)
        assert.equal(conn:backend_pid(), held[1].backend_pid)
        for _, part in ipairs { "a connection is held for 0.", ("explain_spec.lua:%d"):format(line),
            "in a transaction: select 1 as the_last", "(pool.leak_after_ms = 100)" } do
            has(held[1].message, part)
        end
        local until_then = server.now() + 250 -- a second warning would have come by then
        assert.is_true(await(db, 3000, function() return server.now() > until_then end))
        assert.equal(0, #returned)
        conn:release()
        assert.equal(1, #returned)
        has(returned[1].message, "a connection came back that was held for 0.")
        has(returned[1].message, ("explain_spec.lua:%d"):format(line))
        assert.equal(1, #held)
        assert.equal(1, count(lines, "held"))
        assert.equal(1, count(lines, "returned"))
        local levels = {}
        for _, entry in ipairs(lines) do
            levels[entry.event] = entry.level
        end
        assert.same({ held = "warning", returned = "info", rollback = "warning" }, levels)
    end)

    it("is named where it was acquired, though there are many more", function()
        local db = closing((open(nil, { leak_after_ms = 150, max = 50 })))
        local held = listen(db, "held")
        assert.equal(1, db:value "select 1") -- there is an idle one, which is had without a look
        local conn, line = closing(assert(db:acquire())), line_here()
        assert.is_true(await(db, 3000, function() return #held > 0 end))
        has(held[#held].message, ("explain_spec.lua:%d"):format(line))
        assert.is_false(conn:is_released())
    end)

    it("is told of each time it is lent for too long, and of no shorter loan", function()
        local db = closing((open(nil, { leak_after_ms = 300, max = 1 })))
        local held, returned = listen(db, "held"), listen(db, "returned")
        for i = 1, 3 do
            assert.equal(i, db:value("select $1::int", i))
        end
        local line = line_here() + 2
        for _ = 1, 2 do
            assert(db:exec "select pg_sleep(0.4)")
        end
        assert.is_true(await(db, 1000, function() return #returned == 2 end))
        assert.equal(2, #held)
        has(held[1].message, "select pg_sleep(0.4)")
        has(held[1].message, ("explain_spec.lua:%d"):format(line))
    end)

    it("is not told of where the option is not said", function()
        local db, lines = open(nil, { max = 2 })
        closing(db)
        local held = listen(db, "held")
        local conn = assert(db:acquire())
        assert(conn:exec "select pg_sleep(0.3)")
        conn:release()
        assert.equal(1, db:value "select 1")
        assert.equal(0, #held)
        assert.equal(0, #lines)
    end)
end)

describe("a connection that is idle in a transaction", function()
    it("is warned of at half the time after which the server ends it", function()
        local db, lines = open { idle_in_transaction_timeout_ms = 2000 }
        closing(db)
        local told = listen(db, "idle_in_transaction")
        local ok, err = db:transaction(function(tx)
            assert(tx:exec "select 1 as before_the_pause")
            local began = server.now()
            assert.is_true(await(db, 1900, function() return #told > 0 end))
            assert.is_true(server.now() - began >= 995, server.now() - began)
            has(told[1].message, "a connection is idle in a transaction for 1.")
            has(told[1].message, " s; the server ends it after 2.0 s")
            has(told[1].message, "in a transaction: select 1 as before_the_pause")
            assert.truthy(told[1].message:find "by .-explain_spec%.lua:%d+", told[1].message)
            assert.equal(tx:value "select pg_backend_pid()", told[1].backend_pid) -- in time
            return true
        end)
        assert.is_true(ok, tostring(err))
        assert.equal(1, count(lines, "idle_in_transaction"))
    end)

    it("is not warned of while statements run in it, or outside of a transaction", function()
        local db = closing((open { idle_in_transaction_timeout_ms = 1000 }))
        local told = listen(db, "idle_in_transaction")
        local idle = closing(assert(db:acquire()))
        assert.equal(1, idle:value "select 1")
        assert.is_true(db:transaction(function(tx)
            assert(tx:exec "select pg_sleep(0.4)")
            assert(tx:exec "select pg_sleep(0.4)")
            return true
        end))
        assert.is_true(idle:release())
        assert.equal(0, #told)
    end)
end)

describe("db:holders()", function()
    it("lists the connections that are lent, the oldest first", function()
        local db = closing((open(nil, { max = 3 })))
        assert.same({}, db:holders())
        local first, first_line = closing(assert(db:acquire())), line_here()
        local second, second_line = closing(assert(db:acquire())), line_here()
        assert(first:exec "begin")
        assert.is_nil((second:script "begin; selekt"))
        assert(second:exec "begin")
        assert.is_nil((second:exec "select 1/0 as failed"))
        local list = db:holders()
        assert.equal(2, #list)
        assert.equal(first:backend_pid(), list[1].backend_pid)
        assert.equal(second:backend_pid(), list[2].backend_pid)
        assert.is_true(list[1].age_ms >= list[2].age_ms and list[2].age_ms >= 0)
        assert.same({ "begin", "open" }, { list[1].sql, list[1].transaction })
        assert.same({ "select 1/0 as failed", "failed" }, { list[2].sql, list[2].transaction })
        has(list[1].place, ("explain_spec.lua:%d"):format(first_line))
        has(list[2].place, ("explain_spec.lua:%d"):format(second_line))
        assert(first:exec "rollback")
        assert.equal("idle", db:holders()[1].transaction)
    end)

    it("says that a statement is under way", function()
        local db = closing((open()))
        for _ in db:each "select generate_series(1, 3)" do
            local holder = db:holders()[1]
            assert.equal("active", holder.transaction)
            assert.equal("select generate_series(1, 3)", holder.sql)
        end
        assert.same({}, db:holders())
    end)
end)

describe("an error of kind pool_timeout", function()
    it("has the holders as a list", function()
        local db = closing((open()))
        local conn = closing(assert(db:acquire()))
        assert(conn:exec "begin")
        db:suspend()
        for _, call in ipairs {
            function() return db:acquire(10) end,
            function() return db:query { "select 1", timeout_ms = 10 } end,
            function() return db:wait_ready(10) end,
            function() return db:copy_in("t", { "1" }, { timeout_ms = 10 }) end,
            function() return db:query_many({ "select $1::int", timeout_ms = 10 }, { { 1 } }) end,
            function() return db:transaction(print, { timeout_ms = 10 }) end,
            function() return nil, select(2, pcall(db.each, db, { "select 1", timeout_ms = 10 })) end,
        } do
            local err = fails("pool_timeout", call())
            assert.equal(1, #err.holders)
            assert.equal(conn:backend_pid(), err.holders[1].backend_pid)
            assert.equal("begin", err.holders[1].sql)
        end
        assert.is_nil(select(2, conn:query "selekt").holders)
        db:resume()
    end)
end)

-- Another program's session, which holds the lock of row 1 of the table until it is closed.
local function locker(options)
    options = options or {}
    options.application_name = options.application_name or "explain_spec psql"
    local db = assert(tidepool.open {
        url = server.url(options), log = { queries = false, sink = function() end }, pool = { min = 0, max = 1 },
        retry = { verdict_ms = 0 },
    })
    local conn = assert(db:acquire())
    assert(conn:exec "begin")
    assert(conn:exec "update explain_spec set name = 'a secret' where id = 1")
    return { pid = conn:backend_pid(), close = function()
        if not conn:is_released() then conn:release() end
        db:close()
    end }
end

local WAITS = "update explain_spec set name = 'another secret' where id = 1"

-- How many connections an application has that ask who blocks whom; they are of no pool.
local function asking(name)
    return tonumber((server.psql(([[select count(*) from pg_stat_activity
        where application_name = '%s' and query like '%%pg_blocking_pids%%']]):format(name))))
end

-- Who waits for so long leaves time enough to ask, after half of it, also on a busy machine.
local PATIENCE = lab.slow and 3000 or 1000

describe("locks", function()
    setup(function()
        server.psql "create table explain_spec (id int primary key, name text)"
        server.psql "insert into explain_spec values (1, 'x'), (2, 'y')"
        server.psql "drop role if exists explain_other"
        server.psql "create role explain_other login"
        server.psql "grant select, update on explain_spec to explain_other"
    end)

    teardown(function()
        server.psql "drop table explain_spec"
        server.psql "drop role explain_other"
    end)

    loops.each(function(loop)
        -- Task by task: who holds a connection and waits for a lock, and who waits for a connection meanwhile.
        local function while_blocked(db, other, fn)
            loop.run(function()
                db:transaction(function(tx) return tx:exec { WAITS, timeout_ms = 10000 } end)
            end, function()
                assert.is_true(loop.wait(function() return #db:holders() == 1 end))
                local ok, failure = loop.pcall(fn)
                other.close()
                assert(ok, failure)
            end)
        end

        it("that holders wait for are told by a pool_timeout, which is not late for it", function()
            local name = "explain_spec " .. loop.name
            local db = loop.open { url = server.url { application_name = name }, pool = { min = 0, max = 1 } }
            assert.equal(1, db:value "select 1")
            local other = locker()
            while_blocked(db, other, function()
                local err = fails("pool_timeout", lab.ends_at(PATIENCE, function()
                    return db:acquire(PATIENCE)
                end))
                local holder = err.holders[1]
                assert.equal(WAITS, holder.sql)
                assert.equal("active", holder.transaction)
                assert.equal(1, #err.blockers)
                local blocked = err.blockers[1]
                assert.equal(holder.backend_pid, blocked.pid)
                assert.same({ other.pid }, blocked.blocked_by)
                assert.equal("active", blocked.state)
                assert.is_true(blocked.wait_ms > 0 and blocked.wait_ms < 10000, blocked.wait_ms)
                assert.equal("update explain_spec set name = ", blocked.query)
                has(err.message, ("backend %d (in this pool, acquired at "):format(holder.backend_pid))
                assert.truthy(err.message:find("explain_spec%.lua:%d+%) waits for a lock of"), err.message)
                has(err.message, ("of backend %d (application explain_spec psql, idle in"):format(other.pid))
                has(err.message, " s: update explain_spec set name = )")
                assert.is_nil(err.message:find("a secret", 1, true))
                assert.equal(1, asking(name), "one connection more than the pool has")
                assert.equal(1, db:stats().total_connections)
            end)
        end)

        it("show nothing of what another role has sent, though it might be seen", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local other = locker { user = "explain_other" }
            while_blocked(db, other, function()
                local err = fails("pool_timeout", db:acquire(PATIENCE))
                assert.same({ other.pid }, err.blockers[1].blocked_by)
                local pattern = "application explain_spec psql, idle in transaction for %d+%.%d s%);"
                assert.truthy(err.message:find(pattern), err.message)
            end)
        end)

        it("are told among the connections of a pool, too", function()
            local db = loop.open { pool = { min = 0, max = 2 } }
            local over = false
            loop.run(function()
                assert(db:transaction(function(tx)
                    assert(tx:exec "update explain_spec set name = 'b' where id = 2")
                    loop.wait(function() return over end)
                    return true
                end))
            end, function()
                assert.is_true(loop.wait(function() return #db:holders() == 1 end))
                assert(db:exec { "update explain_spec set name = 'c' where id = 2", timeout_ms = 10000 })
            end, function()
                assert.is_true(loop.wait(function() return #db:holders() == 2 end))
                local _, err = db:acquire(PATIENCE)
                over = true
                fails("pool_timeout", nil, err)
                assert.same({ err.holders[1].backend_pid }, err.blockers[1].blocked_by)
                assert.equal(err.holders[2].backend_pid, err.blockers[1].pid)
                assert.equal("open", err.holders[1].transaction)
                local pattern = "lock of backend %d+ %(in this pool, acquired at .-explain_spec.lua:%d+, idle in tr"
                assert.truthy(err.message:find(pattern), err.message)
            end)
        end)

        it("are not asked for by those who wait only for a moment, or when nothing holds them", function()
            local name = "explain_spec moment " .. loop.name
            local db = loop.open { url = server.url { application_name = name }, pool = { min = 0, max = 1 } }
            local over = false
            loop.run(function()
                db:with(function() loop.wait(function() return over end) end)
            end, function()
                assert.is_true(loop.wait(function() return #db:holders() == 1 end))
                for _ = 1, 10 do
                    local _, err = db:acquire(60)
                    assert.is_nil(err.blockers)
                end
                assert.equal(1, server.backends(name))
                local _, err = db:acquire(PATIENCE)
                over = true
                assert.same({}, err.blockers, "asked for, and there are none")
                assert.is_nil(err.message:find("waits for a lock", 1, true))
            end)
        end)
        it("are asked for within pool.max_total, and the place for it is given up to whoever wants it", function()
            local budget = ("explain-spec-%d"):format(math.floor(server.now()))
            local pool = { min = 0, max = 1, max_total = 2, budget = budget }
            local db, other = loop.open { pool = pool }, locker()
            while_blocked(db, other, function()
                assert.equal(1, #fails("pool_timeout", db:acquire(PATIENCE)).blockers)
                assert.equal(2, db:stats().budget.used)
                local second = loop.open { pool = pool }
                assert.equal(1, second:value { "select 1", timeout_ms = 5000 })
            end)
        end)

        it("are not asked for where pool.max_total has no place for it", function()
            local budget = ("explain-spec-full-%d"):format(math.floor(server.now()))
            local db, other = loop.open { pool = { min = 0, max = 1, max_total = 1, budget = budget } }, locker()
            while_blocked(db, other, function()
                assert.is_nil(fails("pool_timeout", db:acquire(PATIENCE)).blockers)
                assert.equal(1, db:stats().budget.used)
            end)
        end)
    end, { "luv" })

    it("are listed by db:blockers(), for all of the server", function()
        local db = closing((open()))
        assert.same({}, db:blockers())
        local first = locker()
        local second = child.start([[
            local db = assert(require("tidepool").open { log = { queries = false } })
            db:transaction(function(tx)
                print(tx:value "select pg_backend_pid()")
                io.stdout:flush()
                return tx:exec(arg[1])
            end)]], { DATABASE_URL = server.url() }, { WAITS })
        local pid = tonumber(second.lines()())
        local list
        assert.is_true(server.wait(function()
            list = assert(db:blockers())
            return #list == 1 and list[1].wait_ms > 50
        end, 5000))
        first.close()
        second.finish()
        assert.same({ { pid = pid, blocked_by = { first.pid }, query = "update explain_spec set name = ",
            state = "active", wait_ms = list[1].wait_ms } }, list)
    end)
end)
