--- db:on: which events there are, who hears them, and what becomes of handlers that fail.
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 1 } }

-- The events of a name, as they come.
local function listen(db, name)
    local list = {}
    db:on(name, function(event) list[#list + 1] = event end)
    return list
end

describe("the event", function()
    it("connect tells of a connection that was made", function()
        local db = closing(open())
        local seen = listen(db, "connect")
        local pid = db:value "select pg_backend_pid()"
        assert.equal(1, #seen)
        assert.equal("connect", seen[1].event)
        assert.equal(pid, seen[1].backend_pid)
        assert.is_true(math.abs(seen[1].time - os.time()) < 5)
    end)

    it("remove tells of a connection that was closed, and why", function()
        local db = closing(open())
        local seen = listen(db, "remove")
        local pid = db:value "select pg_backend_pid()"
        db:with(function(conn) conn:discard() end)
        assert.equal(1, db:value "select 1")
        assert.equal(pid, seen[1].backend_pid)
        assert.equal("discarded", seen[1].message)
        local last = db:value "select pg_backend_pid()"
        db:close()
        assert.equal(2, #seen)
        assert.equal(last, seen[2].backend_pid)
        assert.equal("pool_closed", seen[2].message)
    end)

    it("error tells of a connection that could not be made, without secrets", function()
        local db = closing(open { url = "postgresql://u:topsecret@127.0.0.1:1/db" })
        local seen = listen(db, "error")
        assert.is_nil((db:acquire(100)))
        assert.is_true(#seen >= 1)
        assert.truthy(seen[1].message:find("Connection refused", 1, true))
        assert.equal(1, seen[1].attempt)
        assert.is_nil(seen[1].message:find("topsecret", 1, true))
    end)

    it("error has the SQLSTATE of a refusal", function()
        local db = closing(open { url = server.url { database = "no such database" } })
        local seen = listen(db, "error")
        assert.is_nil((db:acquire(1000)))
        assert.equal("3D000", seen[1].code)
    end)

    it("state tells the pool's new state", function()
        local db = closing(open())
        local seen = listen(db, "state")
        assert.equal(1, db:value "select 1")
        assert.equal("connected", seen[1].message)
        db:close()
        assert.equal("closed", seen[#seen].message)
        assert.equal(2, #seen)
    end)

    it("state tells when the server goes and when it comes back", function()
        local db = closing(open())
        local seen = listen(db, "state")
        assert.equal(1, db:value "select 1")
        server.stop_fast()
        db:query { "select 1", timeout_ms = 100 }
        server.start_again()
        assert.equal(1, db:value "select 1")
        local states = {}
        for i, event in ipairs(seen) do states[i] = event.message end
        assert.same({ "connected", "unreachable", "connected" }, states)
    end)

    it("notice tells what the server has to say", function()
        local db = closing(open())
        local seen = listen(db, "notice")
        assert(db:exec "do $$ begin raise warning 'careful: %', 42; end $$")
        assert.equal(1, #seen)
        assert.equal("careful: 42", seen[1].message)
        assert.equal("01000", seen[1].code)
    end)

    it("retry tells of a statement that is repeated, with the reason and the attempt", function()
        local db = closing(open())
        local seen = listen(db, "retry")
        assert.is_nil((db:exec { "do $$ begin raise serialization_failure; end $$", idempotent = true }))
        assert.equal(2, #seen)
        assert.equal("serialization_failure", seen[1].message)
        assert.equal("40001", seen[1].code)
        assert.equal(1, seen[1].attempt)
        assert.equal(2, seen[2].attempt)
    end)

    it("rollback tells of a connection that came back in a transaction", function()
        local db = closing(open())
        local seen = listen(db, "rollback")
        db:with(function(conn) assert(conn:exec "begin") end)
        assert.equal(1, #seen)
        assert.truthy(seen[1].message:find("events_spec.lua:", 1, true), seen[1].message)
        db:transaction(function() return nil, "no" end)
        assert.equal(1, #seen, "a transaction that is rolled back in order is none")
    end)

    it("query_end tells of every query: its text, how many parameters, how long, and the error", function()
        local db = closing(open())
        local seen = listen(db, "query_end")
        assert.equal(3, db:value("select $1::int + $2::int", 1, 2))
        assert.is_nil((db:query "selekt"))
        db:with(function(conn) return conn:exec "select 4" end)
        assert.equal(3, #seen)
        assert.equal("select $1::int + $2::int", seen[1].sql)
        assert.equal(2, seen[1].parameters)
        assert.is_true(seen[1].duration_ms > 0 and seen[1].duration_ms < 5000)
        assert.is_nil(seen[1].error)
        assert.equal("42601", seen[2].error.code)
        assert.equal("select 4", seen[3].sql)
    end)

    it("query_start and query_end have one table, in which a tracer can keep its span", function()
        local db = closing(open())
        local started, ended = {}, {}
        local stop = db:on("query_start", function(event)
            started[#started + 1] = event
            assert.equal("query_start", event.event)
            assert.is_nil(event.duration_ms)
            event.span.number = #started
        end)
        db:on("query_end", function(event) ended[#ended + 1] = event end)
        assert.equal(3, db:value("select $1::int + $2::int", 1, 2))
        assert(db:query "select * from generate_series(1, 4)")
        assert.is_nil((db:query "selekt"))
        for _ in db:each "select generate_series(1, 5)" do end
        assert(db:pipeline(function(p) p:query "select 1" p:query "select 2" end))
        assert.equal(5, #started)
        for i, event in ipairs(ended) do
            assert.equal(started[i], event)
            assert.equal("query_end", event.event)
            assert.equal(i, event.span.number)
        end
        assert.same({ 1, 4, 0, 5, 2 }, { ended[1].rows, ended[2].rows, ended[3].rows, ended[4].rows, ended[5].rows })
        assert.equal("SELECT", ended[1].command)
        assert.equal("", ended[3].command)
        assert.equal("42601", ended[3].error.code)
        assert.equal("(pipeline)", ended[5].sql)
        assert.is_nil(ended[1].values)
        stop()
        assert.equal(1, db:value "select 1")
        assert.equal(5, #started)
        assert.same({}, ended[6].span)
    end)

    it("query_start tells of COPY, and of calls that wait for a connection", function()
        local db = closing(open { pool = { min = 0, max = 1, acquire_timeout_ms = 30 } })
        local started, ended = listen(db, "query_start"), listen(db, "query_end")
        assert(db:copy_out("(select generate_series(1, 3))", function() return true end))
        assert.equal("copy", started[1].sql:sub(1, 4):lower())
        assert.equal(started[1], ended[1])
        assert.equal(3, ended[1].rows)
        local conn = assert(db:acquire(5000))
        assert.is_nil((db:query "select 1"))
        conn:release()
        assert.equal(started[2], ended[2])
        assert.is_truthy(ended[2].error)
    end)

    it("acquire and release tell how long a connection was waited for and held", function()
        local db = closing(open())
        local acquired, released = listen(db, "acquire"), listen(db, "release")
        db:with(function(conn)
            assert.equal(0, #released)
            assert.equal(conn:backend_pid(), acquired[1].backend_pid)
            assert.equal("", conn:value "select pg_sleep(0.02)")
        end)
        assert(db:transaction(function(tx) return tx:exec "select 1" end))
        assert.equal(2, #acquired)
        assert.equal(2, #released)
        assert.is_true(acquired[1].wait_ms > 0, "it had to be made")
        assert.is_true(released[1].held_ms >= 20)
        assert.equal(acquired[1].backend_pid, released[1].backend_pid)
        assert.equal("release", released[2].event)
    end)

    it("slow tells of a slow query and its place", function()
        local db = closing(open { log = { slow_ms = 500, sink = function() end, queries = false } })
        local seen = listen(db, "slow")
        assert.equal(1, db:value "select 1")
        assert.equal("", db:value "select pg_sleep(0.51)")
        local line = debug.getinfo(1, "l").currentline - 1
        assert.equal(1, #seen)
        assert.equal("select pg_sleep(0.51)", seen[1].sql)
        assert.truthy(seen[1].place:find("events_spec.lua:" .. line, 1, true), seen[1].place)
        assert.is_true(seen[1].duration_ms >= 210)
    end)

    it("overflow tells how many were dropped, before those that are left", function()
        local lines = {}
        local db = closing(open { limits = { events = 5 }, log = {
            sink = function(level, message) lines[#lines + 1] = level == "warning" and message or nil end } })
        assert.equal(1, db:value "select 1")
        local notices, overflows = listen(db, "notice"), listen(db, "overflow")
        assert(db:exec "do $$ begin for i in 1..12 loop raise notice 'the %', i; end loop; end $$")
        assert.equal(1, #overflows)
        assert.equal("7 events were dropped because nobody took them (limits.events = 5)", overflows[1].message)
        assert.equal(5, #notices)
        assert.equal("the 8", notices[1].message)
        assert.same({ overflows[1].message }, lines)
    end)

    it("query_end tells of the statements of a transaction, too", function()
        local db = closing(open())
        local seen = listen(db, "query_end")
        assert.equal(1, db:transaction(function(tx) return tx:value "select 1" end))
        local texts = {}
        for i, event in ipairs(seen) do texts[i] = event.sql end
        assert.same({ "BEGIN", "select 1", "COMMIT" }, texts)
    end)
end)

describe("a handler", function()
    it("raises an error when its event is unknown, with those that are", function()
        local db = closing(open())
        assert.error_matches(function() db:on("conect", print) end,
            "unknown event 'conect' %(known: acquire, breaker, connect, error, gap, held, idle_in_transaction, leak, "
                .. "notice, overflow, query_end, query_start, release, remove, repeats, retry, returned, rollback, "
                .. "slow, state, tls_expiring, tls_reload, verdict%)")
        assert.error_matches(function() db:on(nil, print) end, "unknown event 'nil'")
    end)

    it("has to be a function", function()
        local db = closing(open())
        assert.error_matches(function() db:on("connect", "print") end, "a function")
        assert.error_matches(function() db:on "connect" end, "a function")
    end)

    it("that raises an error is reported to the log and hurts nobody", function()
        local lines = {}
        local db = closing(open {
            log = { queries = false, sink = function(...) lines[#lines + 1] = { ... } end },
        })
        db:on("query_end", function() error "handler" end)
        db:on("query_end", function() error() end)
        local seen = listen(db, "query_end")
        assert.equal(1, db:value "select 1")
        assert.equal(2, db:value "select 2")
        assert.equal(2, #seen)
        assert.equal(4, #lines)
        assert.equal("error", lines[1][1])
        assert.truthy(lines[1][3].error:find("handler", 1, true))
        assert.equal("query_end", lines[1][3].event)
    end)

    it("hears nothing more when it is taken off, and others still do", function()
        local db = closing(open())
        local calls = { 0, 0 }
        local stop = db:on("query_end", function() calls[1] = calls[1] + 1 end)
        db:on("query_end", function() calls[2] = calls[2] + 1 end)
        assert.equal(1, db:value "select 1")
        stop()
        stop()
        assert.equal(1, db:value "select 1")
        assert.same({ 1, 2 }, calls)
    end)

    it("that is put on twice is taken off once at a time", function()
        local db = closing(open())
        local calls = 0
        local function handler() calls = calls + 1 end
        local stop = db:on("query_end", handler)
        local stop_other = db:on("query_end", handler)
        assert.equal(1, db:value "select 1")
        assert.equal(2, calls)
        stop()
        assert.equal(1, db:value "select 1")
        assert.equal(3, calls)
        stop_other()
        assert.equal(1, db:value "select 1")
        assert.equal(3, calls)
    end)

    it("can be put on and taken off by a handler", function()
        local db = closing(open())
        local calls, stop = 0, nil
        stop = db:on("query_end", function()
            stop()
            db:on("query_end", function() calls = calls + 1 end)
        end)
        assert.equal(1, db:value "select 1")
        assert.equal(0, calls)
        assert.equal(1, db:value "select 1")
        assert.equal(1, calls)
    end)

    it("can use the database, and close it", function()
        local db = closing(open())
        local inner
        db:on("notice", function() inner = inner or db:value "select 5" end)
        assert(db:exec "do $$ begin raise notice 'x'; end $$")
        assert.equal(5, inner)
        db:on("query_end", function() db:close() end)
        assert.equal(1, db:value "select 1")
        assert.equal("pool_closed", select(2, db:query "select 1").kind)
    end)

    it("that yields is an error of its own, and hurts nobody", function()
        local db = closing(open { log = { queries = false, sink = function() end } })
        db:on("query_end", function() coroutine.yield() end)
        local co = coroutine.wrap(function() return db:value "select 6" end)
        assert.equal(6, co())
    end)

    it("that nobody has put on costs nothing: what happens is forgotten, the oldest first", function()
        local db = closing(open())
        for _ = 1, 300 do
            db:with(function(conn) conn:exec "do $$ begin raise notice 'x'; end $$" end)
        end
        local seen = listen(db, "notice")
        assert(db:exec "do $$ begin raise notice 'last'; end $$")
        assert.equal("last", seen[#seen].message)
        assert.equal(1, #seen)
    end)
end)
