--- What is closed at the end of its scope: <close> variables, and loops over each that are left early.
-- Only Lua 5.4: no other closes anything there.
local server = require "spec.support.server"
local expect = require "spec.support.expect"

-- Rows are made as they are sent, so a statement that is left stops soon.
local ENDLESS = "select generate_series(1, 1000000000) as i"

local open = expect.opener { log = { queries = false, sink = function() end }, pool = { min = 0, max = 2 } }

local function open_one()
    return open { pool = { min = 0, max = 1 } }
end

-- Waits until no connection is out or being mended.
local function assert_settles(db)
    assert.is_true(server.wait(function()
        local stats = db:stats()
        return stats.active_connections == 0 and stats.mending == 0
    end, 3000), "a connection stays busy")
end

describe("at the end of its scope", function()
    it("a connection is released, also by an error", function()
        local db <close> = open_one()
        do
            local conn <close> = assert(db:acquire())
            assert.equal(1, conn:value "select 1")
        end
        assert.equal(0, db:stats().active_connections)
        pcall(function()
            local _ <close> = assert(db:acquire())
            error "somewhere"
        end)
        assert.equal(0, db:stats().active_connections)
        do
            local conn <close> = assert(db:acquire())
            conn:release()
        end
        assert.equal(1, db:value "select 1")
    end)

    it("a database is closed", function()
        local name = "close_scope_spec"
        local kept
        do
            local db <close> = open { url = server.url { application_name = name } }
            assert.equal(1, db:value "select 1")
            kept = db
        end
        assert.is_true(server.wait(function() return server.backends(name) == 0 end, 3000))
        assert.equal("pool_closed", select(2, kept:query "select 1").kind)
    end)

    it("a database that the program has closed before stays closed", function()
        do
            local db <close> = open()
            db:close()
        end
    end)
end)

describe("a loop over each", function()
    it("may be one within another, and both be left", function()
        local db <close> = open()
        local seen = 0
        for outer in db:each(ENDLESS) do
            for inner in db:each(ENDLESS) do
                seen = seen + 1
                if inner.i == 3 then break end
            end
            if outer.i == 2 then break end
        end
        assert.equal(6, seen)
        assert_settles(db)
        assert.equal(1, db:value "select 1")
    end)

    it("may be left by return and by goto", function()
        local db <close> = open_one()
        local function find(i)
            for row in db:each(ENDLESS) do
                if row.i == i then return row end
            end
        end
        assert.same({ i = 70 }, find(70))
        for row in db:each(ENDLESS) do
            if row.i == 3 then goto done end
        end
        ::done::
        assert.equal(1, db:value "select 1")
    end)

    it("is left by an error in its body too, and the error is the same", function()
        local db <close> = open_one()
        local mine = {}
        local ok, err = pcall(function()
            for _ in db:each(ENDLESS) do error(mine) end
        end)
        assert.is_false(ok)
        assert.equal(mine, err)
        assert.equal(1, db:value "select 1")
        local conn <close> = assert(db:acquire())
        assert.is_false((pcall(function()
            for _ in conn:each(ENDLESS) do error "x" end
        end)))
        assert.equal(1, conn:value "select 1")
    end)

    it("in a coroutine that is closed is left like any other", function()
        local db <close> = open_one()
        local co = coroutine.create(function()
            for row in db:each(ENDLESS) do coroutine.yield(row.i) end
        end)
        assert.is_true(coroutine.resume(co))
        assert.is_true(coroutine.close(co))
        assert.equal(1, db:value "select 1")
    end)
end)

describe("a transaction", function()
    it("whose coroutine is closed in the middle costs one connection and nothing else", function()
        local db <close> = open()
        assert(db:script "drop table if exists close_scope; create table close_scope (id int)")
        local co = coroutine.create(function()
            db:transaction(function(tx)
                tx:exec "insert into close_scope values (1)"
                coroutine.yield()
            end)
        end)
        assert(coroutine.resume(co))
        assert.is_true(coroutine.close(co))
        collectgarbage()
        assert.equal(0, db:value "select count(*) from close_scope")
        assert(db:exec "drop table close_scope")
    end)
end)
