--- Rows one by one and COPY under each event loop.
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local tidepool = require "tidepool"
local fails = require("spec.support.expect").fails

local check = tidepool.assert or load "return assert" ()

-- Lua 5.1 itself, where the iterator of a generic for cannot wait.
local for_cannot_wait = _VERSION == "Lua 5.1" and not rawget(_G, "jit")
local closes_loops = _VERSION >= "Lua 5.4"

-- Calls fn with each row, until it returns false; the loop is then left.
local function for_each(fn, next_row, state, control, stream)
    if for_cannot_wait then
        local row = next_row()
        while row ~= nil and fn(row) ~= false do
            row = next_row()
        end
    else
        for row in next_row, state, control, stream do
            if fn(row) == false then
                break
            end
        end
    end
    if not closes_loops then
        stream:close()
    end
end

loops.each(function(loop)
    setup(function()
        server.psql [[
            drop table if exists await_items;
            create table await_items (id int primary key, name text)]]
    end)

    before_each(function()
        server.psql "truncate await_items"
    end)

    teardown(function()
        server.psql "drop table await_items"
    end)

    local function count(db)
        return db:value "select count(*) from await_items"
    end

    describe("each", function()
        if not loop.blocks then
            it("lets others go on, though the next rows are always there", function()
                local db, over, turns = loop.open(), false, 0
                loop.run(function()
                    local rows = 0
                    for_each(function(row)
                        rows = rows + 1
                        assert.equal(2000, #row.text:upper():lower():upper()) -- slower than the server
                    end, db:each "select repeat('x', 2000) as text from generate_series(1, 10000)")
                    over = true
                    assert.equal(10000, rows)
                end, function()
                    while not over do
                        loop.sleep(1)
                        turns = turns + 1
                    end
                end)
                assert.is_true(turns >= 40, turns .. " turns")
            end)
        end

        it("gives all rows in order, while others use the pool", loop.tasks(function()
            local db = loop.open()
            local seen, sum = 0, 0
            for_each(function(row)
                seen = seen + 1
                if seen ~= row.i then
                    error(("row %d came as row %d"):format(row.i, seen))
                end
                if row.i % 1000 == 0 then
                    sum = sum + db:value("select $1::int", row.i)
                end
            end, db:each("select i, repeat('x', 200) as filler from generate_series(1, $1::int) i", 20000))
            assert.equal(20000, seen)
            assert.equal(210000, sum)
        end))

        it("gives rows that come late one after the other", loop.tasks(function()
            local db = loop.open()
            local seen = {}
            for_each(function(row) seen[#seen + 1] = row.i end,
                db:each "select i, pg_sleep(0.01)::text from generate_series(1, 5) i")
            assert.same({ 1, 2, 3, 4, 5 }, seen)
        end))

        it("that is left early gives its connection back", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local seen = 0
            for_each(function()
                seen = seen + 1
                return seen < 3
            end, db:each "select i, repeat('x', 1000) as filler from generate_series(1, 1000000) i")
            assert.equal(3, seen)
            assert.equal(1, db:value "select 1")
        end))

        it("that is left early leaves a connection of the task's own usable", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local conn = assert(db:acquire())
            for_each(function() return false end, conn:each "select generate_series(1, 300000)")
            assert.equal(1, conn:value "select 1")
            conn:release()
        end))

        it("that is left by an error gives its connection back", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local stream
            local ok, err = loop.pcall(function()
                local next_row, state, control, closer = db:each "select generate_series(1, 100000)"
                stream = closer
                for_each(function() error("enough", 0) end, next_row, state, control, closer)
            end)
            assert.is_false(ok)
            assert.equal("enough", err:match "^[^\n]*") -- a pcall may add a traceback
            if not closes_loops then
                stream:close()
            end
            assert.equal(1, db:value "select 1")
        end))

        it("raises the errors of the server, at the row where they come", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local ok, err = loop.pcall(db.each, db, "select * from no_such_table")
            assert.is_false(ok)
            assert.equal("undefined_table", err.name)
            local next_row, _, _, stream = db:each "select 10 / (3 - i) from generate_series(1, 5) i"
            assert.truthy(next_row())
            assert.truthy(next_row())
            ok, err = loop.pcall(next_row)
            assert.is_false(ok)
            assert.equal("division_by_zero", err.name)
            stream:close()
            assert.equal(1, db:value "select 1")
        end))

        it("may be left to the collector", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            assert.truthy((db:each "select generate_series(1, 300000)")())
            collectgarbage()
            collectgarbage()
            assert.equal(1, db:value "select 1")
        end))

        it("fails when a row does not come within timeout_ms", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local next_row, _, _, stream = db:each {
                [[select i, pg_sleep(case i when 3 then 30 else 0 end)::text, repeat('x', 20000)
                    from generate_series(1, 5) i]],
                timeout_ms = 400,
            }
            local seen = 0
            local ok, err = loop.pcall(function()
                while next_row() do
                    seen = seen + 1
                end
            end)
            assert.is_false(ok)
            assert.is_true(seen == 1 or seen == 2) -- the server may keep a part of the second
            assert.equal("timeout", err.kind)
            stream:close()
            assert.equal(1, db:value "select 1")
        end))
    end)

    describe("copy_in", function()
        it("stores a list", loop.tasks(function()
            local db = loop.open()
            local list = {}
            for i = 1, 20000 do
                list[i] = { i, "name " .. i }
            end
            assert.same({ command = "COPY", count = 20000 }, db:copy_in("await_items", list))
            assert.equal("name 777", db:value "select name from await_items where id = 777")
        end))

        it("stores what a function returns that itself waits, on another connection", loop.tasks(function()
            local db = loop.open()
            local i = 0
            assert.same({ command = "COPY", count = 200 }, db:copy_in("await_items(name, id)", function()
                i = i + 1
                if i <= 200 then
                    return { i % 20 == 0 and check(db:value("select 'asked ' || $1::int", i)) or "told", i }
                end
            end))
            assert.equal(10, db:value "select count(*) from await_items where name like 'asked %'")
            assert.equal(1, db:value "select 1")
        end))

        it("stores raw data, as a string and from a function", loop.tasks(function()
            local db = loop.open()
            assert.equal(2, assert(db:copy_in("await_items", "1\tone\n2\ttwo\n", { raw = true })).count)
            local chunks, i = { "3\tth", "ree\n4", "\tfour\n" }, 0
            assert.equal(2, assert(db:copy_in("await_items", function()
                i = i + 1
                if i <= #chunks then
                    assert.equal("", db:value "select pg_sleep(0.01)::text")
                    return chunks[i]
                end
            end, { raw = true })).count)
            assert.equal("one,two,three,four", db:value "select string_agg(name, ',' order by id) from await_items")
        end))

        it("stores nothing when its function raises an error, which comes out as it is", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 2 } }
            local thing, i = {}, 0
            local ok, err = loop.pcall(db.copy_in, db, "await_items", function()
                i = i + 1
                if i == 1000 then
                    assert.equal(1, db:value "select 1")
                    error(thing, 0)
                end
                return { i, "x" }
            end)
            assert.is_false(ok)
            assert.equal(thing, err)
            assert.equal(0, count(db))
        end))

        it("stores nothing when its function returns nil and an error, which it returns", loop.tasks(function()
            local db = loop.open()
            local i = 0
            local result, err = db:copy_in("await_items", function()
                i = i + 1
                if i <= 3 then
                    return { i, "x" }
                end
                return db:value "select 1 / 0"
            end)
            assert.is_nil(result)
            assert.equal("division_by_zero", err.name)
            assert.equal(0, count(db))
        end))

        it("returns the error of the server", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local err = fails("database", db:copy_in("await_items", { { 1, "x" }, { 1, "y" } }))
            assert.equal("unique_violation", err.name)
            assert.equal(0, count(db))
        end))

        it("waits for a server that takes its time, within timeout_ms", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            server.psql [[
                create or replace function await_slow() returns trigger language plpgsql as
                    'begin perform pg_sleep(30); return new; end';
                create trigger slow before insert on await_items for each row execute function await_slow()]]
            assert.equal(0, count(db))
            local began = server.now()
            fails("timeout", db:copy_in("await_items", { { 1, "x" } }, { timeout_ms = 150 }))
            assert.is_true(server.now() - began < 10000)
            server.psql "drop trigger slow on await_items; drop function await_slow"
            assert.equal(0, count(db))
        end))
    end)

    describe("copy_out", function()
        it("calls its sink with every row, and the sink may wait", loop.tasks(function()
            local db = loop.open()
            local seen = {}
            assert.same({ command = "COPY", count = 3000 }, db:copy_out(
                "(select i, 'n' || i from generate_series(1, 3000) i)",
                function(row)
                    if row[1] % 1000 == 0 then
                        seen[#seen + 1] = db:value("select $1::text", row[2])
                    end
                end))
            assert.same({ "n1000", "n2000", "n3000" }, seen)
        end))

        it("gives raw data as it comes", loop.tasks(function()
            local db = loop.open()
            local bytes = 0
            assert.equal(30000, assert(db:copy_out(
                "(select i, repeat('x', 100) from generate_series(1, 30000) i)",
                function(text) bytes = bytes + #text end, { raw = true })).count)
            assert.equal(138894 + 30000 * 102, bytes)
        end))

        it("ends early when the sink has had enough", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local rows = 0
            local result = assert(db:copy_out("(select generate_series(1, 1000000))", function()
                rows = rows + 1
                return rows < 10
            end))
            assert.is_true(result.stopped)
            assert.equal(10, rows)
            assert.equal(1, db:value "select 1")
        end))

        it("gives its connection back when the sink raises an error", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local ok, err = loop.pcall(db.copy_out, db, "(select generate_series(1, 100000))", function()
                error("sink", 0)
            end)
            assert.is_false(ok)
            assert.equal("sink", err:match "^[^\n]*") -- a pcall may add a traceback
            assert.equal(1, db:value "select 1")
        end))
    end)
end)
