--- Queries under each event loop: the same answers, errors and timeouts as without one.
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local fails = require("spec.support.expect").fails

loops.each(function(loop)
    it("query, one, value, exec and script answer", loop.tasks(function()
        local db = loop.open()
        local rows = assert(db:query("select i, 'row ' || i as name from generate_series(1, $1::int) i", 3))
        assert.equal(3, #rows)
        assert.same({ i = 2, name = "row 2" }, rows[2])
        assert.same({ a = 5, b = "x" }, db:one("select $1::int as a, $2::text as b", 5, "x"))
        assert.equal("text", db:value("select $1::text", "text"))
        assert.is_nil(db:one "select 1 where false")
        assert.same({ command = "SELECT", count = 2 }, db:exec "select generate_series(1, 2)")
        local results = assert(db:script "select 1 as a; select 2 as a, 3 as b; select 4 where false")
        assert.equal(3, #results)
        assert.same({ a = 2, b = 3 }, results[2][1])
        assert.equal(0, #results[3])
    end))

    it("a call that is wrong raises an error with the line that made it", loop.tasks(function()
        local db = loop.open()
        local misuses = {
            ["SQL text expected, got no value"] = function() local r = db:query() return r end,
            ["a call is {sql, options...}: SQL text expected first, got nil"] =
                function() local r = db:one { text = "select 1" } return r end,
            ["unknown option 'timeout' of a call (known: "] =
                function() local r = db:exec { "select 1", timeout = 5 } return r end,
            ["option 'timeout_ms' must be milliseconds"] =
                function() local r = db:value { "select 1", timeout_ms = -5 } return r end,
            ["option 'tags' must be a table, got a string"] =
                function() local r = db:value { "select 1", tags = "x" } return r end,
            ["option 'as' of each must be \"rows\" or \"arrays\""] =
                function() local r = db:each { "select 1", as = "lazy" } return r end,
            ["milliseconds expected, got string"] = function() local r = db:acquire "soon" return r end,
            ["milliseconds cannot be negative"] = function() local r = db:wait_ready(-1) return r end,
            ["milliseconds expected, got table"] = function() local r = db:drain {} return r end,
            ["a function expected, got nil"] = function() local r = db:pipeline() return r end,
            ["unknown option 'timeout' of a pipeline (known: timeout_ms)"] =
                function() local r = db:pipeline(function() end, { timeout = 5 }) return r end,
            ["a list of lists of parameters expected, got number"] =
                function() local r = db:query_many("select $1::int", 5) return r end,
            ["a function expected, got string"] = function() local r = db:transaction "select 1" return r end,
            ["unknown option 'deadline' of a block"] =
                function() local r = db:with(print, { deadline = 5 }) return r end,
            ["copy_in: a list of rows or a function expected, got string (ready COPY data needs raw = true)"] =
                function() local r = db:copy_in("t", "1,2") return r end,
            ["unknown option 'wait' of suspend (known: wait_ms)"] =
                function() local r = db:suspend { wait = 5 } return r end,
            ["quote_literal: a string expected, got nil"] = function() local r = db:quote_literal() return r end,
            ["unknown option 'pool.mx'"] = function() local r = db:option "pool.mx" return r end,
        }
        for message, misuse in pairs(misuses) do
            local ok, err = pcall(misuse)
            assert.is_false(ok, message)
            local line = debug.getinfo(misuse, "S").linedefined
            local expected = ("await_query_spec.lua:%d: %s"):format(line, message)
            assert.truthy(tostring(err):find(expected, 1, true), tostring(err))
        end
        assert.equal(1, db:value { "select 1", tags = {} })
        assert.equal(1, db:transaction(function(tx) return tx:value "select 1" end, { tags = {} }))
    end))

    it("a wide result and a long one arrive whole", loop.tasks(function()
        local db = loop.open()
        local rows = assert(db:query [[
            select i, repeat(chr(65 + i % 26), 1000) as filler from generate_series(1, 5000) i]])
        assert.equal(5000, #rows)
        assert.equal(5000, rows[5000].i)
        assert.equal(("I"):rep(1000), rows[5000].filler)
        local text = db:value "select repeat('0123456789', 800000)"
        assert.equal(8000000, #text)
        assert.equal(#text, db:value("select length($1::text)", text))
    end))

    it("parameters keep their nils, tables and numbers across a wait", loop.tasks(function()
        local db = loop.open()
        local many = {}
        for i = 1, 100 do
            many[i] = i
        end
        local doc = { name = "doc", deep = { true } }
        local row = assert(db:one([[select pg_sleep(0.01)::text as nothing, $1::int as a, $2::text as b,
            $3::int[] as list, $4::jsonb as doc, $5::text as z]], nil, "two", many, { name = "doc", deep = { true } },
            nil))
        assert.is_nil(row.a)
        assert.equal("two", row.b)
        assert.same(many, row.list)
        assert.same(doc, row.doc)
        assert.is_nil(row.z)
    end))

    it("an error of the server comes back with all of its fields", loop.tasks(function()
        local db = loop.open()
        local err = fails("database", db:query "select 1 / 0")
        assert.equal("22012", err.code)
        assert.equal("division_by_zero", err.name)
        err = fails("database", db:value "select * from no_such_table")
        assert.equal("undefined_table", err.name)
        assert.equal(15, err.position)
        assert.equal(1, db:value "select 1")
    end))

    it("a value that does not fit its parameter is an error, and the connection stays good", loop.tasks(function()
        local db = loop.open()
        fails("validation", db:query("select $1::int", function() end))
        fails("validation", db:query("select $1::int", 1, 2))
        assert.equal(7, db:value("select $1::int", 7))
        assert.equal(1, db:stats().total_connections)
    end))

    it("misuse raises an error in the task that has made it", loop.tasks(function()
        local db = loop.open()
        assert.has_error(function() db:query() end)
        assert.has_error(function() db:query({ "select 1", no_such_option = 1 }) end)
        assert.equal(1, db:value "select 1")
    end))

    it("a query that takes longer than its timeout_ms is cancelled, and the next one is answered", loop.tasks(function()
        local name = "await timeout " .. loop.name
        local db = loop.open { url = server.url { application_name = name }, pool = { min = 0, max = 1 } }
        assert.equal(1, db:value "select 1")
        local began = server.now()
        fails("timeout", db:query { "select pg_sleep(30)", timeout_ms = 100 })
        assert.is_true(server.now() - began >= 99, "not before its time")
        assert.is_true(server.now() - began < 10000, "and not at the end of the query")
        assert.equal(1, db:value "select 1")
        assert.equal(1, server.backends(name))
        assert.equal(0, tonumber(server.psql(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%' and state = 'active' "
            .. "and application_name = '" .. name .. "'")))
    end))

    it("a timeout on a connection of the task's own costs the pool nothing", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local conn = assert(db:acquire())
        fails("timeout", conn:query { "select pg_sleep(30)", timeout_ms = 50 })
        conn:release()
        assert.equal(1, db:value "select 1")
    end))

    it("the options of one call have their effect", loop.tasks(function()
        local db = loop.open()
        assert.same({ 1, "x" }, assert(db:query { "select 1, 'x'", as = "arrays" })[1])
        fails("database", db:query { "select 1 / 0", timeout_ms = 1000, idempotent = true })
        local err = fails("validation", db:query { "select generate_series(1, 100)", max_rows = 10 })
        assert.truthy(tostring(err):find("max_rows", 1, true))
        assert.equal(1, db:value "select 1")
    end))

    it("a connection has the same methods, all on one backend", loop.tasks(function()
        local db = loop.open()
        local conn = assert(db:acquire())
        local pid = conn:backend_pid()
        assert.equal(pid, conn:value "select pg_backend_pid()")
        assert.equal(pid, conn:one("select pg_backend_pid() as pid").pid)
        assert.equal(pid, conn:query("select pg_backend_pid() as pid")[1].pid)
        assert.equal(pid, conn:script("select pg_backend_pid() as pid")[1][1].pid)
        assert.equal("SELECT", conn:exec("select 1").command)
        assert.is_true(conn:ping())
        assert.is_true(conn:release())
        fails("validation", conn:query "select 1")
        fails("validation", conn:release())
    end))

    it("a statement whose result type was altered meanwhile is prepared anew", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 2 } }
        assert(db:script "drop table if exists await_stale; create table await_stale (a int)")
        assert(db:exec("insert into await_stale values ($1)", 1))
        local conn = assert(db:acquire()) -- both connections know the statement
        assert.same({ a = 1 }, conn:one "select * from await_stale")
        assert.same({ a = 1 }, db:one "select * from await_stale")
        assert(db:exec "alter table await_stale add column b text default 'new'")
        assert.same({ a = 1, b = "new" }, db:one "select * from await_stale")
        assert.same({ a = 1, b = "new" }, conn:one "select * from await_stale")
        conn:release()
        assert(db:exec "drop table await_stale")
    end))

    it("types that are learnt from the server, and those that the program defines", loop.tasks(function()
        local db = loop.open()
        assert(db:script [[
            drop type if exists await_pair, await_mood; create type await_mood as enum ('sad', 'ok');
            create type await_pair as (a int, mood await_mood)]])
        assert.same({ a = 1, mood = "ok" }, db:value "select row(1, 'ok')::await_pair")
        assert.same({ a = 2, mood = "sad" }, db:value("select $1::await_pair", { a = 2, mood = "sad" }))
        assert(db:define_type {
            name = "await_mood",
            decode = function(text) return "mood:" .. text end,
            encode = function(value) return (value:gsub("^mood:", "")) end,
        })
        assert.equal("mood:ok", db:value("select $1::await_mood", "mood:ok"))
        assert(db:script "drop type await_pair; drop type await_mood")
    end))

    it("an error that a program's decoder raises comes out of the query of its task", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        assert(db:define_type {
            name = "uuid",
            decode = function() error("bad uuid", 0) end,
            encode = function(value) return value end,
        })
        local ok, result, err = loop.pcall(db.query, db, "select gen_random_uuid()")
        assert.truthy(tostring(ok and err or result):find("bad uuid", 1, true))
        assert.equal(1, db:value "select 1")
    end))

    it("ping and wait_ready wait", loop.tasks(function()
        local db = loop.open()
        assert.is_true(db:wait_ready(5000))
        assert.is_true(db:ping())
        assert.is_true(db:is_connected())
    end))

    it("a server that is not there is an error when the time is over", loop.tasks(function()
        local db = loop.open { url = server.url { host = "127.0.0.1", port = 1 } }
        local began = server.now()
        local ready, err = db:wait_ready(150)
        assert.is_nil(ready)
        assert.is_table(err)
        assert.is_true(server.now() - began >= 140)
        assert.is_true(server.now() - began < 5000)
        ready, err = db:ping(100)
        assert.is_false(ready)
        assert.is_table(err)
    end))
end)
