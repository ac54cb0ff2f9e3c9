--- Transactions and connections on loan under each event loop.
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local tidepool = require "tidepool"
local fails = require("spec.support.expect").fails

local check = tidepool.assert or load "return assert" ()

loops.each(function(loop)
    setup(function()
        server.psql [[
            drop table if exists await_accounts;
            create table await_accounts (id int primary key, n int not null)]]
    end)

    before_each(function()
        server.psql "truncate await_accounts"
    end)

    teardown(function()
        server.psql "drop table await_accounts"
    end)

    local function insert(tx, id)
        return check(tx:exec("insert into await_accounts values ($1, 0)", id))
    end

    local function count(db)
        return db:value "select count(*) from await_accounts"
    end

    it("a transaction commits what its function did, and returns what it returns", loop.tasks(function()
        local db = loop.open()
        local a, b, c = db:transaction(function(tx)
            insert(tx, 1)
            assert.equal(0, count(db), "others do not see it yet")
            return 1, nil, tx:value "select count(*) from await_accounts"
        end)
        assert.same({ 1, nil, 1 }, { a, b, c })
        assert.equal(1, count(db))
    end))

    it("a transaction is rolled back by nil and an error", loop.tasks(function()
        local db = loop.open()
        local why = {}
        local result, err = db:transaction(function(tx)
            insert(tx, 1)
            return nil, why
        end)
        assert.is_nil(result)
        assert.equal(why, err)
        assert.equal(0, count(db))
    end))

    it("a transaction is rolled back by an error of the program's, which is raised again", loop.tasks(function()
        local db = loop.open()
        local thing = {}
        local ok, err = loop.pcall(db.transaction, db, function(tx)
            insert(tx, 1)
            error(thing, 0)
        end)
        assert.is_false(ok)
        assert.equal(thing, err)
        assert.equal(0, count(db))
    end))

    it("a transaction is rolled back by an error of the server that was asserted, and returns it", loop.tasks(function()
        local db = loop.open()
        local err = fails("database", db:transaction(function(tx)
            insert(tx, 1)
            insert(tx, 1)
        end))
        assert.equal("unique_violation", err.name)
        assert.equal(0, count(db))
    end))

    it("a transaction within another is a savepoint", loop.tasks(function()
        local db = loop.open()
        assert.equal("outer", db:transaction(function(tx)
            insert(tx, 1)
            fails("database", tx:transaction(function(inner)
                insert(inner, 2)
                check(inner:query "select 1 / 0")
            end))
            assert.equal("inner", tx:transaction(function(inner)
                insert(inner, 3)
                return "inner"
            end))
            return "outer"
        end))
        assert.same({ 1, 3 }, db:value "select array_agg(id order by id) from await_accounts")
    end))

    it("a transaction has all the methods of a connection", loop.tasks(function()
        local db = loop.open()
        local seen = {}
        assert(db:transaction(function(tx)
            check(tx:copy_in("await_accounts", { { 1, 10 }, { 2, 20 } }))
            check(tx:copy_out("await_accounts", function(row) seen[#seen + 1] = row[2] end))
            local results = check(tx:pipeline(function(p)
                p:value "select 1"
                p:exec("update await_accounts set n = n + $1", 1)
            end))
            check(tx:query_many("update await_accounts set n = n + $1 where id = $2", { { 1, 1 }, { 1, 2 } }))
            assert.equal(1, results[1])
            return 2 == results[2].count
        end))
        assert.same({ 10, 20 }, seen)
        assert.equal(12 + 22, db:value "select sum(n) from await_accounts")
    end))

    it("a transaction that cannot be serialized is run again, when it may be", function()
        if loop.blocks then
            return -- two at a time are needed
        end
        server.psql "insert into await_accounts values (1, 0)"
        local db = loop.open { pool = { min = 0, max = 4 } }
        local runs, entered = 0, 0
        local function add()
            check(db:transaction(function(tx)
                runs = runs + 1
                local n = check(tx:value "select n from await_accounts where id = 1")
                entered = entered + 1
                loop.wait(function() return entered >= 2 end)
                check(tx:exec("update await_accounts set n = $1 where id = 1", n + 1))
                return true
            end, { isolation = "serializable", retries = 5 }))
        end
        loop.run(add, add)
        assert.is_true(runs > 2, "one of them was run again")
        assert.equal("2", server.psql "select n from await_accounts")
        assert.equal(runs - 2, db:stats().retries)
    end)

    it("a transaction that was not begun with retries fails with the serialization error", function()
        if loop.blocks then
            return
        end
        server.psql "insert into await_accounts values (1, 0)"
        local db = loop.open { pool = { min = 0, max = 4 } }
        local entered, failures = 0, 0
        local function add()
            local ok, err = db:transaction(function(tx)
                local n = check(tx:value "select n from await_accounts where id = 1")
                entered = entered + 1
                loop.wait(function() return entered == 2 end)
                check(tx:exec("update await_accounts set n = $1 where id = 1", n + 1))
                return true
            end, { isolation = "repeatable read" })
            if not ok then
                assert.equal("40001", err.code)
                failures = failures + 1
            end
        end
        loop.run(add, add)
        assert.equal(1, failures)
    end)

    it("a transaction on a connection of the program's own", loop.tasks(function()
        local db = loop.open()
        local conn = assert(db:acquire())
        local pid = conn:backend_pid()
        assert.equal(pid, conn:transaction(function(tx)
            insert(tx, 1)
            return tx:value "select pg_backend_pid()"
        end))
        assert.equal("idle", conn:transaction_state())
        conn:release()
        assert.equal(1, count(db))
    end))

    it("with gives the connection back when its function ends, however it does", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        assert.equal(5, db:with(function(conn) return conn:value "select 5" end))
        local ok, err = loop.pcall(db.with, db, function(conn)
            assert.equal(1, conn:value "select 1")
            error("out", 0)
        end)
        assert.is_false(ok)
        assert.equal("out", err:match "^[^\n]*") -- a pcall may add a traceback
        assert.equal(1, db:value "select 1")
    end))

    it("a connection that comes back in an open transaction is rolled back before the next one gets it", loop.tasks(
        function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local conn = assert(db:acquire())
            assert(conn:exec "begin")
            insert(conn, 1)
            conn:release()
            assert.equal(0, count(db))
            assert.equal(1, db:stats().rollbacks)
        end))

    it("a connection that was ended by the server is not the task's problem the next time", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local pid = assert(db:value "select pg_backend_pid()")
        server.psql(("select pg_terminate_backend(%d, 5000)"):format(pid))
        local other = assert(db:value "select pg_backend_pid()")
        assert.not_equal(pid, other)
        pid = assert(db:transaction(function(tx) return tx:value "select pg_backend_pid()" end))
        assert.equal(other, pid)
        server.psql(("select pg_terminate_backend(%d, 5000)"):format(pid))
        assert.equal(1, db:transaction(function(tx) return tx:value "select 1" end))
    end))

    it("a statement whose backend is ended fails with a connection error", loop.tasks(function()
        local db = loop.open()
        local conn = assert(db:acquire())
        local err = fails("connection", conn:query "select pg_terminate_backend(pg_backend_pid())")
        assert.equal("57P01", err.code)
        conn:release()
        assert.equal(1, db:value "select 1")
    end))

    it("a pipeline answers in one list, whose first failure says which", loop.tasks(function()
        local db = loop.open()
        local results = assert(db:pipeline(function(p)
            p:value("select $1::int", 1)
            p:query "select pg_sleep(0.02)::text as nothing, 2 as two"
            p:exec("insert into await_accounts values ($1, $2)", 1, 1)
        end))
        assert.equal(1, results[1])
        assert.equal(2, results[2][1].two)
        assert.equal(1, results[3].count)
        local nothing, err = db:pipeline(function(p)
            p:exec("insert into await_accounts values ($1, $2)", 2, 1)
            p:value "select 1 / 0"
        end)
        assert.is_nil(nothing)
        assert.equal("division_by_zero", err.name)
        assert.equal(1, count(db))
    end))

    it("query_many runs one statement with many parameters", loop.tasks(function()
        local db = loop.open()
        local sets = {}
        for i = 1, 3000 do
            sets[i] = { i, i }
        end
        assert(db:query_many("insert into await_accounts values ($1, $2)", sets))
        assert.equal(3000, count(db))
        local err = fails("database", db:query_many("insert into await_accounts values ($1, $2)",
            { { 3001, 1 }, { 1, 1 } }))
        assert.equal("unique_violation", err.name)
        assert.equal(3000, count(db))
    end))
end)
