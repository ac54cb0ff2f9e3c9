--- db:listen and db:notify: what is heard, in which order, and where a listener is told that something may be missing.
local fails = require("spec.support.expect").fails
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local silent = { queries = false, slow_ms = 0, sink = function() end }

local function payloads(listener, count)
    local list = {}
    for i = 1, count do
        local note, err = listener:next(5000)
        list[i] = note and (note.payload or note.reason) or tostring(err)
    end
    return table.concat(list, " ")
end

-- Of a listener whose queue holds three: what it tells after five notifications that nobody took, and a sixth.
local function overflowed(loop, policy)
    local db = loop.open { log = silent }
    local listener = assert(db:listen("a", { limit = 3, overflow = policy }))
    for i = 1, 5 do
        assert(db:notify("a", i))
    end
    assert.is_true(loop.wait(function() return db:stats().notifications == 5 end))
    local told = {}
    local function take()
        local note = listener:next(0)
        while note do
            told[#told + 1] = note.gap and ("%s %d"):format(note.reason, note.dropped) or note.payload
            note = listener:next(0)
        end
    end
    take()
    assert(db:notify("a", 6))
    assert.is_true(loop.wait(function() return db:stats().notifications == 6 end))
    take()
    listener:close()
    return told
end

loops.each(function(loop)
    local count = 0

    -- A database whose connections have a name of their own, and the name.
    local function open(options)
        count = count + 1
        local name = ("listen_spec %s %d"):format(loop.name, count)
        local where = { url = server.url { application_name = name }, log = silent }
        for key, value in pairs(options or {}) do where[key] = value end
        return loop.open(where), name
    end

    it("what is sent after listen has returned is heard, in its order", loop.tasks(function()
        local db = open()
        local listener = assert(db:listen "a")
        assert.equal("tidepool.listener (open)", tostring(listener))
        local pid = db:value "select pg_backend_pid() from pg_notify('a', 'first')"
        assert.is_true(db:notify("a", "second"))
        assert.is_true(db:notify "a")
        assert.same({ channel = "a", payload = "first", backend_pid = pid }, listener:next(5000))
        assert.equal("second", listener:next(5000).payload)
        assert.equal("", listener:next(5000).payload)
        fails("timeout", listener:next(0))
        listener:close()
    end))

    it("a name may be any of 63 bytes, and is taken as it is", loop.tasks(function()
        local db = open()
        local names = { "Orders", 'a"b', "a'b; drop", ("é"):rep(31) .. "x", " " }
        local listener = assert(db:listen(names))
        assert(db:notify("orders", "another"))
        for _, name in ipairs(names) do
            assert(db:notify(name, "for " .. name))
            local note = assert(listener:next(5000))
            assert.equal(name, note.channel)
            assert.equal("for " .. name, note.payload)
        end
        fails("validation", db:listen(("x"):rep(64)))
        fails("validation", db:listen "")
        fails("validation", db:listen "a\0b")
        fails("validation", db:listen "\255")
        assert.equal(1, db:stats().listeners)
        listener:close()
    end))

    it("a payload has less than 8000 bytes", loop.tasks(function()
        local db = open()
        local listener = assert(db:listen "a")
        local most = ("x"):rep(7999)
        assert(db:notify("a", most))
        assert.equal(most, listener:next(5000).payload)
        local err = fails("validation", db:notify("a", most .. "x"))
        assert.equal("the payload has 8000 bytes; PostgreSQL takes 7999 at most", err.message)
        fails("validation", db:notify(("x"):rep(64), ""))
        assert(db:notify("a", 12))
        assert.equal("12", listener:next(5000).payload)
        listener:close()
    end))

    it("in a transaction a notification is sent when it is committed", loop.tasks(function()
        local db = open()
        local listener = assert(db:listen "a")
        assert(db:transaction(function(tx)
            assert(tx:notify("a", "kept"))
            fails("timeout", listener:next(20))
            return true
        end))
        assert.equal("kept", listener:next(5000).payload)
        db:transaction(function(tx)
            assert(tx:notify("a", "undone"))
            return nil, "no"
        end)
        db:with(function(conn) assert(conn:notify("a", "by a connection")) end)
        assert.equal("by a connection", listener:next(5000).payload)
        listener:close()
    end))

    it("each listener gets its own of its channels, by one connection", loop.tasks(function()
        local db, name = open { pool = { min = 0, max = 1 } }
        local made = 0
        db:on("connect", function() made = made + 1 end)
        local a, ab = assert(db:listen "a"), assert(db:listen { "a", "b", "a" })
        assert(db:script "notify b, '1'; notify a, '2'; notify c, '3'; notify b, '4'")
        assert.equal("2", payloads(a, 1))
        assert.equal("1 2 4", payloads(ab, 3))
        fails("timeout", a:next(0))
        a:close()
        assert(db:notify("a", 5))
        assert.equal("5", payloads(ab, 1))
        assert.equal(2, made, "one that listens, one that is lent")
        assert.equal(1, db:stats().created)
        assert.equal(1, db:stats().listeners)
        assert.equal(2, server.backends(name))
        ab:close()
        assert.is_true(loop.wait(function() return server.backends(name) == 1 end), "nobody listens any more")
        local again = assert(db:listen "b")
        assert(db:notify("b", 6))
        assert.equal("6", payloads(again, 1))
        again:close()
    end))

    it("the server is told when the last listener of a channel is closed", loop.tasks(function()
        local db, name = open()
        local a, b = assert(db:listen "a"), assert(db:listen "b")
        local function last() return server.psql(("select query from pg_stat_activity where application_name = '%s' "
            .. "and query ~ 'LISTEN'"):format(name)) end
        assert.equal('LISTEN "b";', last())
        b:close()
        assert.is_true(loop.wait(function() return last() == 'UNLISTEN "b";' end))
        b = assert(db:listen "b")
        assert(db:notify("b", "x"))
        assert.equal("x", payloads(b, 1))
        a:close()
        b:close()
    end))

    it("a loss is told as a gap, when the server listens again and before what is heard then", loop.tasks(function()
        local db, name = open { retry = { base_ms = 1 } }
        local told
        db:on("gap", function(event) told = event.message end)
        local a, b = assert(db:listen "a"), assert(db:listen { "b", "a" })
        assert(db:notify("a", "before"))
        assert.equal("before", payloads(a, 1))
        assert.is_true(server.terminate(name) >= 1)
        assert.same({ gap = true, reason = "lost" }, a:next(5000))
        assert(db:notify("a", "after"))
        assert.equal("after", payloads(a, 1))
        assert.equal("before lost after", payloads(b, 3))
        fails("timeout", a:next(0))
        assert.is_truthy(told:find("^lost %(.*terminating connection"), told)
        a:close()
        b:close()
    end))

    it("connections that are replaced leave a gap, a pool that is suspended none", loop.tasks(function()
        local db, name = open()
        local listener = assert(db:listen "a")
        assert.is_true(db:suspend())
        server.psql "notify a, 'suspended'"
        assert.equal("suspended", payloads(listener, 1))
        local other = assert(db:listen "b") -- by the same connection
        other:close()
        listener:close()
        assert.is_true(loop.wait(function() return server.backends(name) == 0 end))
        local err = fails("timeout", db:listen("a", { timeout_ms = 30 }))
        assert.is_truthy(err.message:find("the pool is suspended", 1, true), err.message)
        db:resume()
        listener = assert(db:listen "a")
        db:evict_all()
        assert.same({ gap = true, reason = "replaced" }, listener:next(5000))
        server.psql "notify a, 'replaced'"
        assert.equal("replaced", payloads(listener, 1))
        listener:close()
    end))

    it("a queue that overflows has a gap where notifications are missing", loop.tasks(function()
        assert.same({ "overflow 3", "4", "5", "6" }, overflowed(loop, "gap"))
        assert.same({ "overflow 2", "3", "4", "5", "6" }, overflowed(loop, "oldest"))
        assert.same({ "1", "2", "3", "overflow 2", "6" }, overflowed(loop, "newest"))
    end))

    it("run and each go on until the listener is closed", loop.tasks(function()
        local db = open()
        local listener = assert(db:listen "a")
        local heard = {}
        for i = 1, 3 do assert(db:notify("a", i)) end
        assert.is_true(listener:run(function(note)
            heard[#heard + 1] = note.payload
            return #heard < 2
        end))
        local next_note = listener:each()
        heard[#heard + 1] = next_note().payload
        assert.equal("1 2 3", table.concat(heard, " "))
        listener:close()
        listener:close()
        assert.is_true(listener:is_closed())
        assert.is_nil(next_note())
        assert.is_true(listener:run(print))
        local err = fails("validation", listener:next(0))
        assert.equal("the listener is closed", err.message)
        assert.equal("tidepool.listener (closed)", tostring(listener))
    end))

    it("a pool that closes ends its listeners", loop.tasks(function()
        local db, name = open()
        local listener = assert(db:listen "a")
        assert(db:notify("a", "unheard"))
        db:close()
        fails("pool_closed", listener:next(5000))
        fails("pool_closed", db:listen "a")
        assert.is_nil(listener:each()())
        assert.is_true(loop.wait(function() return server.backends(name) == 0 end))
    end))

    it("of a named pool each object ends its own listeners", loop.tasks(function()
        local one = open { name = "listen_spec" }
        local two = loop.open { name = "listen_spec", log = silent }
        local a, b = assert(one:listen "a"), assert(two:listen "a")
        one:close()
        fails("pool_closed", a:next(5000))
        assert(two:notify("a", "still"))
        assert.equal("still", payloads(b, 1))
        two:close()
        fails("pool_closed", b:next(0))
    end))

    it("a listener that the program has lost hears no more", loop.tasks(function()
        local db = open()
        assert(db:listen "a") -- luacheck: ignore
        assert.is_true(loop.wait(function()
            collectgarbage()
            return db:stats().listeners == 0
        end))
    end))

    it("a password is asked for when the connection that listens needs one", loop.tasks(function()
        local asked = 0
        local db = loop.open {
            log = silent, url = server.url { tcp = true, password = "x", application_name = "listen_spec password" },
            password = function()
                asked = asked + 1
                return server.password
            end,
        }
        local listener = assert(db:listen "a")
        assert.equal(1, asked)
        server.terminate "listen_spec password"
        assert.equal("lost", payloads(listener, 1))
        assert.equal(2, asked)
        listener:close()
    end))

    it("what the server refuses is returned by listen", loop.tasks(function()
        local db = loop.open { url = server.url { user = "nobody_of_that_name" }, log = silent }
        local err = fails("connection", db:listen "a")
        assert.equal("28000", err.code)
        assert.equal(0, db:stats().listeners)
    end))
end)

loops.each(function(loop)
    it("who waits is told at once: of a notification, of the end of the listener, of the end of the pool", function()
        local db = loop.open { log = silent }
        local listener
        local heard, errors = {}, {}
        local function hear()
            local note, err = listener:next(10000)
            heard[#heard + 1] = note and note.payload
            errors[#errors + 1] = err and err.kind
        end
        loop.run(function()
            listener = assert(db:listen "a")
            for _ = 1, 4 do loop.spawn(hear) end
            loop.sleep(10)
            assert(db:notify("a", 1))
            assert(db:notify("a", 2))
            assert.is_true(loop.wait(function() return #heard == 2 end))
            listener:close()
            assert.is_true(loop.wait(function() return #errors == 2 end))
        end)
        assert.same({ "1", "2" }, heard)
        assert.same({ "validation", "validation" }, errors)
        loop.run(function()
            listener = assert(db:listen "a")
            loop.spawn(hear)
            loop.sleep(10)
            db:close()
        end)
        assert.equal("pool_closed", errors[3])
    end)

    it("one who finds more and more lets others go on", function()
        local db = loop.open { log = silent }
        local turns, taken = 0, 0
        loop.run(function()
            local listener = assert(db:listen("a", { limit = 20000 }))
            assert(db:query "select pg_notify('a', i::text) from generate_series(1, 20000) i")
            assert.is_true(loop.wait(function() return db:stats().notifications == 20000 end))
            loop.spawn(function()
                while taken < 20000 do
                    turns = turns + 1
                    loop.sleep(1)
                end
            end)
            while taken < 20000 do
                assert(listener:next(0))
                taken = taken + 1
            end
            listener:close()
        end)
        assert.is_true(turns > 2, ("%d turns"):format(turns))
    end)
end, loops.concurrent)

describe("listeners", function()
    local function open(options)
        local where = { url = server.url(), log = silent, pool = { min = 0, max = 2 } }
        for key, value in pairs(options or {}) do where[key] = value end
        return portable.closing(assert(tidepool.open(where)))
    end

    it("misuse is raised", function()
        local db = open()
        assert.has_error(function() db:listen() end)
        assert.has_error(function() db:listen {} end)
        assert.has_error(function() db:listen { 1 } end)
        assert.has_error(function() db:listen("a", { limit = 0 }) end, "option limit must be a positive count")
        assert.has_error(function() db:listen("a", { overflow = "all" }) end)
        assert.has_error(function() db:listen("a", { timeout_ms = -1 }) end)
        assert.has_error(function() db:listen("a", { every = 1 }) end,
            "unknown option 'every' of listen (known: limit, overflow, timeout_ms)")
        assert.has_error(function() db:notify() end)
        assert.has_error(function() db:notify("a", {}) end)
        local listener = assert(db:listen "a")
        assert.has_error(function() listener:next "soon" end)
        assert.has_error(function() listener:run() end)
        listener:close()
    end)

    it("while the server is away nothing is told, and the gap when it is back", function()
        local db = open { pool = { min = 0, max = 2 } }
        local listener = assert(db:listen "a")
        server.stop_fast()
        fails("timeout", listener:next(30))
        local err = fails("connection", db:listen("b", { timeout_ms = 30 }))
        assert.is_true(err.retryable)
        server.start_again()
        assert.equal("lost", listener:next(10000).reason)
        listener:close()
    end)

    it("their connection has a place in the budget of pool.max_total", function()
        local pool = { min = 0, max = 2, max_total = 2, budget = ("listen_spec-%d"):format(math.floor(server.now())) }
        local db = open { pool = pool }
        local listener = assert(db:listen "a")
        local held = assert(db:acquire()) -- one that rests would be given up for others
        assert.equal(2, db:stats().budget.used)
        local other = open { pool = pool }
        fails("timeout", other:listen("a", { timeout_ms = 50 }))
        held:release()
        listener:close()
        listener = assert(other:listen "a")
        assert(db:notify("a", "x"))
        assert.equal("x", payloads(listener, 1))
        listener:close()
    end)

    portable.only_5_4("it takes five seconds", function()
        it("a connection that has gone silent is noticed by the round trips of health.interval_ms", function()
            local name = "listen_spec silent"
            local db = open { url = server.url { application_name = name }, health = { interval_ms = 50 } }
            local listener = assert(db:listen "a")
            local pid = server.psql(("select pid from pg_stat_activity where application_name = '%s'"):format(name))
            server.sh("kill -STOP " .. pid)
            local note, err = listener:next(10000)
            server.sh("kill -CONT " .. pid)
            assert.equal("lost", note and note.reason, tostring(err))
            server.psql "notify a, 'heard'"
            assert.equal("heard", payloads(listener, 1))
            listener:close()
        end)
    end)
end)
