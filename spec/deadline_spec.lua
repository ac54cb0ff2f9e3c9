--- Deadlines of blocks: what runs in db:with and db:transaction has one end, whatever each statement is given.
local loops = require "spec.support.loops"
local expect = require "spec.support.expect"
local server = require "spec.support.server"

local fails, takes = expect.fails, expect.takes

loops.each(function(loop)
    local function open(options)
        return loop.open { pool = { min = 0, max = 2 }, query_timeout_ms = options and options.query_timeout_ms }
    end

    it("deadline_ms of with ends each statement in it, in the time that is left", loop.tasks(function()
        local db = open()
        takes(495, 2500, function()
            db:with(function(conn)
                assert(conn:query "select pg_sleep(0.04)")
                fails("timeout", conn:query "select pg_sleep(60)")
            end, { deadline_ms = 500 })
        end)
        takes(95, 1500, function()
            db:with(function(conn)
                fails("timeout", conn:query { "select pg_sleep(60)", timeout_ms = 50000 })
            end, { deadline_ms = 100, timeout_ms = 5000 })
        end)
    end))

    it("deadline_ms does not lengthen what a statement says itself, and ends with its block", loop.tasks(function()
        local db = open { query_timeout_ms = 50 }
        takes(45, 1500, function()
            db:with(function(conn) fails("timeout", conn:query "select pg_sleep(60)") end, { deadline_ms = 60000 })
        end)
        db = open()
        assert.equal(1, db:value "select 1")
        db:with(function(conn) assert.equal(1, conn:value "select 1") end, { deadline_ms = 300 })
        loop.sleep(310)
        db:with(function(conn) assert.equal(1, conn:value "select 1") end)
    end))

    it("deadline_ms of a transaction rolls it back, also when it passes between two statements", loop.tasks(function()
        local db = open()
        local name = "deadline_" .. loop.name
        assert(db:script(("create table %s (id int)"):format(name)))
        local err = fails("timeout", db:transaction(function(tx)
            assert(tx:exec(("insert into %s values (1)"):format(name)))
            loop.sleep(310)
            return "done"
        end, { deadline_ms = 300 }))
        assert.truthy(err.message:find "deadline_ms", err.message)
        fails("timeout", db:transaction(function(tx)
            assert(tx:exec(("insert into %s values (2)"):format(name)))
            return tx:query "select pg_sleep(60)"
        end, { deadline_ms = 80, retries = 3 }))
        assert.equal(0, db:value("select count(*) from " .. name))
        assert.equal("done", (db:transaction(function(tx)
            assert(tx:exec(("insert into %s values (3)"):format(name)))
            return "done"
        end, { deadline_ms = 20000 })))
        assert.equal(1, db:value("select count(*) from " .. name))
        assert(db:script("drop table " .. name))
    end))

    it("what begins after the deadline is not sent, and the connection is as good as before", loop.tasks(function()
        local db = open()
        local name = "late_" .. loop.name
        assert(db:script(("create table %s (id int)"):format(name)))
        local insert = ("insert into %s values ($1)"):format(name)
        db:with(function(conn)
            assert(conn:exec(insert, 1))
            local err = fails("timeout", conn:transaction(function(tx)
                assert(tx:exec(insert, 2))
                loop.sleep(510)
                return "done"
            end))
            assert.matches("deadline_ms", err.message)
            assert.matches("not sent", fails("timeout", conn:exec(insert, 2)).message)
            fails("timeout", conn:query_many(insert, { { 2 } }))
            fails("timeout", conn:copy_in(name, { { 2 } }))
            fails("timeout", conn:script(("insert into %s values (2)"):format(name)))
            fails("timeout", conn:transaction(function(tx) return tx:exec(insert, 2) end))
            assert.equal("idle", conn:transaction_state())
        end, { deadline_ms = 500 })
        fails("timeout", db:exec({ insert, timeout_ms = 0 }, 2))
        assert.equal("1", server.psql("select string_agg(id::text, ',') from " .. name))
        assert.equal(0, db:stats().closed.in_doubt)
        assert(db:script("drop table " .. name))
    end))

    it("deadline_ms of a block within another one is the earlier of the two", loop.tasks(function()
        local db = open()
        takes(75, 1500, function()
            db:with(function(conn)
                fails("timeout", conn:transaction(function(tx) return tx:query "select pg_sleep(60)" end,
                    { deadline_ms = 60000 }))
            end, { deadline_ms = 80 })
        end)
        db:with(function(conn)
            assert.equal(1, (conn:transaction(function(tx) return tx:value "select 1" end, { deadline_ms = 600 })))
            assert(conn:query "select pg_sleep(0.65)")
        end, { deadline_ms = 20000 })
    end))

    if not loop.blocks then
        it("deadline_ms bounds the wait for a connection", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local over = false
            loop.run(function()
                local conn = assert(db:acquire())
                assert.is_true(loop.wait(function() return over end))
                conn:release()
            end, function()
                assert.is_true(loop.wait(function() return db:stats().active_connections == 1 end))
                takes(45, 1500, function()
                    fails("pool_timeout", db:with(function() return true end, { deadline_ms = 50 }))
                    fails("pool_timeout", db:transaction(function() return true end, { deadline_ms = 1 }))
                end)
                over = true
            end)
        end)
    end

    it("a deadline_ms without an end is none", loop.tasks(function()
        local db = open()
        for _, ms in ipairs { math.huge, 1e300, 1e16 } do
            local function block(it) return it:value "select 1" end
            assert.equal(1, (db:with(block, { deadline_ms = ms })))
            assert.equal(1, (db:transaction(block, { deadline_ms = ms })))
        end
    end))

    it("options that are none are misuse", function()
        local db = open()
        assert.has_error(function() db:with(print, { dead_ms = 1 }) end)
        assert.has_error(function() db:with(print, { deadline_ms = -1 }) end)
        assert.has_error(function() db:transaction(print, { deadline_ms = "1" }) end)
    end)

    it("deadline_ms bounds streams and COPY", loop.tasks(function()
        local db = open()
        local ok = loop.pcall(function()
            db:with(function(conn)
                local next_row = conn:each {
                    "select pg_sleep(0.01) from generate_series(1, 100000)", timeout_ms = 5000,
                }
                while next_row() do end -- luacheck: ignore
            end, { deadline_ms = 100 })
        end)
        assert.is_false(ok)
        assert.equal(1, db:value "select 1")
    end))
end)
