--- COPY under event loops: what waits, who goes on meanwhile, and what is left when it ends in the middle.
local compat = require "tidepool.compat"
local expect = require "spec.support.expect"

-- Loops that are not there for this Lua are left out.
local function find(name)
    local found, library = pcall(require, name)
    return found and library or nil
end

local copas, cqueues, uv = find "copas", find "cqueues", find "luv"

-- Each runs functions as tasks of a loop until all have ended.
local loops = {
    cqueues = cqueues and function(tasks)
        local loop = cqueues.new()
        for _, task in ipairs(tasks) do
            loop:wrap(task)
        end
        assert(loop:loop())
    end,
    luv = uv and function(tasks)
        local idle = uv.new_idle()
        idle:start(function()
            idle:close()
            for _, task in ipairs(tasks) do
                assert(coroutine.resume(coroutine.create(task)))
            end
        end)
        uv.run()
    end,
    copas = copas and function(tasks, have_ended)
        for _, task in ipairs(tasks) do
            copas.addthread(task)
        end
        while not have_ended() do -- that of copas has no end in some versions
            copas.step(1)
        end
    end,
}

-- Runs the functions as tasks of the loop; what one raises is raised here.
local function run(name, ...)
    local tasks, failed, ended = {}, nil, 0
    for i, fn in ipairs { ... } do
        tasks[i] = function()
            local ok, err = compat.pcall(fn)
            ended = ended + 1
            failed = failed or (not ok and { err })
        end
    end
    loops[name](tasks, function() return ended == #tasks end)
    if failed then
        error(failed[1], 0)
    end
    assert.equal(#tasks, ended)
end

local function describe_if(possible, name, fn)
    if possible then
        describe(name, fn)
    else
        it(name, function() pending "its loop is not there for this Lua" end)
    end
end

local fails = expect.fails
local open = expect.opener { log = { queries = false, slow_ms = 0 }, pool = { min = 0, max = 4 } }

-- An iterator over the numbers up to `last` (or without end) as rows, and how many it has given.
local function numbers(last)
    local i = 0
    return function()
        if not last or i < last then
            i = i + 1
            return { i, "name " .. i }
        end
    end, function() return i end
end

for _, name in ipairs { "cqueues", "luv", "copas" } do
    describe_if(loops[name], "copy under " .. name, function()
        local db

        setup(function()
            db = open()
            assert(db:script [[
                create schema copy_await_spec;
                create table copy_await_spec.plain (id int, name text);
                create table copy_await_spec.strict (id int primary key);]])
        end)

        teardown(function()
            assert(db:exec "drop schema copy_await_spec cascade")
            db:close()
        end)

        before_each(function()
            assert(db:exec "truncate copy_await_spec.plain, copy_await_spec.strict")
        end)

        local function stored()
            return assert(db:value "select count(*) from copy_await_spec.plain")
        end

        it("copies in and out in every way", function()
            run(name, function()
                local list = {}
                for i = 1, 20000 do
                    list[i] = { i, "name " .. i }
                end
                for _, format in ipairs { "text", "binary" } do
                    assert(db:exec "truncate copy_await_spec.plain")
                    local options = { format = format }
                    local answer = compat.pack(db:copy_in("copy_await_spec.plain", list, options))
                    assert.equal(1, answer.n)
                    assert.equal(20000, answer[1].count)
                    assert.equal(20000, assert(db:copy_in("copy_await_spec.plain", (numbers(20000)), options)).count)
                    local count, sum = 0, 0
                    assert(db:copy_out("copy_await_spec.plain", function(row)
                        count, sum = count + 1, sum + row[1]
                    end, options))
                    assert.equal(40000, count)
                    assert.equal(20000 * 20001, sum)
                end
                local chunks = {}
                assert(db:copy_out("copy_await_spec.plain", function(chunk) chunks[#chunks + 1] = chunk end,
                    { raw = true }))
                local text = table.concat(chunks)
                assert.equal(40000, assert(db:copy_in("copy_await_spec.plain", text, { raw = true })).count)
                local i = 0
                assert.equal(40000, assert(db:copy_in("copy_await_spec.plain", function()
                    i = i + 1
                    return chunks[i]
                end, { raw = true })).count)
                assert.equal(120000, stored())
            end)
        end)

        it("lets others go on while it waits for rows", function()
            local order = {}
            run(name, function()
                assert(db:copy_out("(select 1 from pg_sleep(1))", function() order[#order + 1] = "row" end))
                order[#order + 1] = "end"
            end, function()
                for _ = 1, 20 do
                    assert.equal(1, db:value "select 1")
                end
                order[#order + 1] = "other"
            end)
            assert.same({ "other", "row", "end" }, order)
        end)

        it("asks for no more rows than the server takes, and lets others go on meanwhile", function()
            local next_row, given = numbers(100000)
            local answer, given_then
            run(name, function()
                local holder = assert(db:acquire())
                assert(holder:exec "select pg_advisory_lock(4711)")
                local waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
                while assert(db:value(waiting)) == 0 do
                    assert(db:value "select pg_sleep(0.01)::text")
                end
                local before
                repeat -- until the socket is full
                    before = given()
                    assert(db:value "select pg_sleep(0.1)::text")
                until given() == before
                assert.is_nil(answer)
                given_then = before
                assert(holder:exec "select pg_advisory_unlock(4711)")
                holder:release()
            end, function()
                assert(db:value "select pg_sleep(0.1)::text")
                answer = assert(db:copy_in([[
                    COPY copy_await_spec.plain FROM STDIN
                    WHERE id > 1 or pg_advisory_xact_lock_shared(4711) is not null]], next_row))
            end)
            assert.equal(100000, answer.count)
            assert.is_true(given_then < 80000, given_then .. " rows were asked for")
        end)

        it("lets its functions wait, too", function()
            run(name, function()
                local next_row = numbers(300)
                local told = 0
                assert(db:copy_in("copy_await_spec.plain", function()
                    local row = next_row()
                    if row then
                        row[2] = assert(db:value("select $1::int * 2", row[1]))
                    end
                    return row
                end, { progress = function() told = told + assert(db:value "select 1") end }))
                assert.equal(1, told)
                local sum = 0
                assert(db:copy_out("copy_await_spec.plain", function(row)
                    sum = sum + assert(db:value("select $1::int", row[2]))
                end, { progress = function() told = told + assert(db:value "select 1") end }))
                assert.equal(300 * 301, sum)
                assert.equal(2, told)
            end)
        end)

        it("serves many tasks at once", function()
            local tasks = {}
            for i = 1, 20 do
                tasks[i] = function()
                    local format = i % 2 == 0 and "text" or "binary"
                    assert.equal(3000, assert(db:copy_in("copy_await_spec.plain", (numbers(3000)),
                        { format = format })).count)
                    local count = 0
                    assert(db:copy_out("(select generate_series(1, 5000))", function() count = count + 1 end,
                        { format = format }))
                    assert.equal(5000, count)
                end
            end
            run(name, compat.unpack(tasks))
            assert.equal(60000, stored())
            local stats = db:stats()
            assert.is_true(stats.created <= 4, require("pl.pretty").write(stats.closed))
        end)

        it("is committed and rolled back with a transaction", function()
            run(name, function()
                assert(db:transaction(function(tx)
                    return tx:copy_in("copy_await_spec.plain", (numbers(20000)))
                end))
                local _, err = db:transaction(function(tx)
                    assert(tx:copy_in("copy_await_spec.plain", (numbers(20000))))
                    return nil, "enough"
                end)
                assert.equal("enough", err)
                assert.equal(20000, stored())
            end)
        end)

        it("ends when something is wrong, and leaves the connection usable", function()
            run(name, function()
                local conn = assert(db:acquire())
                local pid = conn:backend_pid()
                local function at(place, act)
                    local next_row, count = numbers()
                    return function()
                        if count() == place then
                            return act()
                        end
                        return next_row()
                    end
                end
                local function check(kind, pattern, source)
                    local err = fails(kind, conn:copy_in("copy_await_spec.plain", source, { timeout_ms = 60000 }))
                    assert.matches(pattern, tostring(err))
                    assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
                end
                check("validation", "row 30001 has 1 column", at(30000, function() return { 1 } end))
                check("validation", "out of ideas", at(30000, function() return nil, "out of ideas" end))
                check("database", "division by zero", at(30000, function() return db:value "select 1 / 0" end))
                local thrown = {}
                local ok, err = compat.pcall(conn.copy_in, conn, "copy_await_spec.plain",
                    at(30000, function() error(thrown, 0) end))
                assert.is_false(ok)
                assert.equal(thrown, err)
                local next_row = numbers()
                err = fails("database", conn:copy_in("copy_await_spec.strict", function()
                    return { next_row()[1] % 5000 }
                end))
                assert.equal("23505", err.code)
                err = fails("database", conn:copy_out("(select 1 / (30000 - g) from generate_series(1, 40000) g)",
                    function() end))
                assert.equal("22012", err.code)
                ok, err = compat.pcall(conn.copy_out, conn, "(select generate_series(1, 1000000))",
                    function() error(thrown, 0) end)
                assert.is_false(ok)
                assert.equal(thrown, err)
                assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
                conn:release()
                assert.equal(0, stored())
            end)
        end)

        it("stops when the sink has enough", function()
            run(name, function()
                local conn = assert(db:acquire())
                local pid = conn:backend_pid()
                for _, options in ipairs { {}, { format = "binary" }, { raw = true } } do
                    local query = "(select generate_series(1, 3000000), repeat('x', 100))"
                    local answer = assert(conn:copy_out(query, function() return false end, options))
                    assert.is_true(answer.stopped)
                    assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
                end
                conn:release()
            end)
        end)

        it("ends at its deadline", function()
            run(name, function()
                fails("timeout", db:copy_out("(select pg_sleep(30))", function() end, { timeout_ms = 100 }))
                fails("timeout", db:copy_in("COPY copy_await_spec.plain FROM STDIN WHERE pg_sleep(30) is null",
                    (numbers()), { timeout_ms = 100 }))
                fails("timeout", db:copy_in("copy_await_spec.plain", (numbers()), { timeout_ms = 100 }))
                fails("timeout", db:copy_out("(select generate_series(1, 100000000))", function() end,
                    { timeout_ms = 100 }))
                assert.equal(0, stored())
            end)
        end)

        it("ends when the connection dies", function()
            run(name, function()
                local conn = assert(db:acquire())
                local next_row, count = numbers()
                local err = fails("connection", conn:copy_in("copy_await_spec.plain", function()
                    if count() == 30000 then
                        assert(db:value("select pg_terminate_backend($1, 5000)", conn:backend_pid()))
                    end
                    return next_row()
                end, { timeout_ms = 20000 }))
                assert.equal("57P01", err.code)
                conn:release()
                assert.equal(0, stored())
            end)
        end)
    end)
end

describe_if(cqueues, "copy whose wait is ended by the event loop", function()
    local db, torn
    local torn_down = {}
    local loop = require "tidepool.await.cqueues"

    setup(function()
        local adapter = setmetatable({
            name = "a loop that ends",
            wait = function(...)
                if torn then
                    torn = false
                    error(torn_down, 0)
                end
                return loop.wait(...)
            end,
        }, { __index = loop })
        db = open { await = adapter, pool = { min = 0, max = 1 } }
        run("cqueues", function()
            assert(db:exec "create table copy_torn (id int, name text)")
        end)
    end)

    teardown(function()
        run("cqueues", function()
            assert(db:exec "drop table copy_torn")
        end)
        db:close()
    end)

    it("is ended first, then raises that", function()
        run("cqueues", function()
            local conn = assert(db:acquire())
            local pid = conn:backend_pid()
            local next_row, count = numbers()
            local ok, err = compat.pcall(conn.copy_in, conn, "copy_torn", function()
                torn = count() > 1000
                return next_row()
            end)
            assert.is_false(ok)
            assert.equal(torn_down, err)
            assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
            assert.equal(0, conn:value "select count(*) from copy_torn")
            ok, err = compat.pcall(conn.copy_out, conn, "(select g, pg_sleep(0.001) from generate_series(1, 100000) g)",
                function() torn = true end)
            assert.is_false(ok)
            assert.equal(torn_down, err)
            assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
            conn:release()
        end)
    end)
end)

-- Where copas is there and cannot tell whether it runs, no coroutine is known to be out of its hands.
describe_if(cqueues and uv and not copas, "copy that moves between loops", function()
    local db

    setup(function()
        db = open()
        assert(db:exec "create table copy_moved (id int, name text)")
    end)

    teardown(function()
        assert(db:exec "drop table copy_moved")
        db:close()
    end)

    before_each(function()
        assert(db:exec "truncate copy_moved")
    end)

    -- A coroutine that copies in and out, and yields when it has been asked for so many rows.
    local function copying(results)
        return coroutine.create(function()
            local next_row, count = numbers(200000)
            results[1] = assert(db:copy_in("copy_moved", function()
                if count() == 100000 then
                    coroutine.yield "in"
                end
                return next_row()
            end))
            local rows = 0
            results[2] = assert(db:copy_out("copy_moved", function()
                rows = rows + 1
                if rows == 100000 then
                    coroutine.yield "out"
                end
            end))
        end)
    end

    local function in_loop(task)
        local idle = uv.new_idle()
        idle:start(function()
            idle:close()
            assert(coroutine.resume(task))
        end)
        uv.run()
    end

    local function out_of_loop(task)
        assert(coroutine.resume(task))
    end

    it("waits with the loop that runs it, or blocks", function()
        for _, way in ipairs { { in_loop, out_of_loop, in_loop }, { out_of_loop, in_loop, out_of_loop } } do
            assert(db:exec "truncate copy_moved")
            local results = {}
            local task = copying(results)
            for i = 1, 3 do
                assert.equal("suspended", coroutine.status(task))
                way[i](task)
            end
            assert.equal("dead", coroutine.status(task))
            assert.equal(200000, results[1].count)
            assert.equal(200000, results[2].count)
        end
    end)
end)
