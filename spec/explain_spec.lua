--- Leaks and timeouts that explain themselves: who has the connections, for how long, and what they wait for.
local tidepool = require "tidepool"
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
        assert.same({ "warning", "info" }, { lines[1].level, lines[2].level })
    end)

    it("is named where it was acquired, though there are many more", function()
        local db = closing((open(nil, { leak_after_ms = 50, max = 50 })))
        local held = listen(db, "held")
        assert.equal(1, db:value "select 1") -- there is an idle one, which is had without a look
        local conn, line = closing(assert(db:acquire())), line_here()
        assert.is_true(await(db, 3000, function() return #held > 0 end))
        has(held[1].message, ("explain_spec.lua:%d"):format(line))
        assert.is_false(conn:is_released())
    end)

    it("is told of each time it is lent for too long, and of no shorter loan", function()
        local db = closing((open(nil, { leak_after_ms = 80, max = 1 })))
        local held, returned = listen(db, "held"), listen(db, "returned")
        for i = 1, 3 do
            assert.equal(i, db:value("select $1::int", i))
        end
        for _ = 1, 2 do
            assert(db:exec "select pg_sleep(0.2)")
        end
        assert.is_true(await(db, 1000, function() return #returned == 2 end))
        assert.equal(2, #held)
        has(held[1].message, "select pg_sleep(0.2)")
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
        local db, lines = open { idle_in_transaction_timeout_ms = 1000 }
        closing(db)
        local told = listen(db, "idle_in_transaction")
        local ok, err = db:transaction(function(tx)
            assert(tx:exec "select 1 as before_the_pause")
            local began = server.now()
            assert.is_true(await(db, 950, function() return #told > 0 end))
            assert.is_true(server.now() - began >= 495, server.now() - began)
            has(told[1].message, "a connection is idle in a transaction for 0.5 s; the server ends it after 1.0 s")
            has(told[1].message, "in a transaction: select 1 as before_the_pause")
            assert.truthy(told[1].message:find "by .-explain_spec%.lua:%d+", told[1].message)
            assert.equal(tx:value "select pg_backend_pid()", told[1].backend_pid) -- in time
            return true
        end)
        assert.is_true(ok, tostring(err))
        assert.same({ "warning" }, { lines[1].level })
        assert.equal(1, count(lines, "idle_in_transaction"))
    end)

    it("is not warned of while statements run in it, or outside of a transaction", function()
        local db = closing((open { idle_in_transaction_timeout_ms = 300 }))
        local told = listen(db, "idle_in_transaction")
        local idle = closing(assert(db:acquire()))
        assert.equal(1, idle:value "select 1")
        assert.is_true(db:transaction(function(tx)
            assert(tx:exec "select pg_sleep(0.25)")
            assert(tx:exec "select pg_sleep(0.25)")
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
            local _, err = call()
            assert.equal("pool_timeout", err.kind, tostring(err))
            assert.equal(1, #err.holders)
            assert.equal(conn:backend_pid(), err.holders[1].backend_pid)
            assert.equal("begin", err.holders[1].sql)
        end
        assert.is_nil(select(2, conn:query "selekt").holders)
        db:resume()
    end)
end)
