--- Transactions: what commits, what rolls back, what is run again, and what is left behind.
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

-- busted's own assert makes a text of an error; programs use Lua's.
local check = portable.assert

local fails = expect.fails
local open = expect.opener { log = { queries = false, sink = function() end }, pool = { min = 0, max = 2 } }

local function count(db)
    return db:value "select count(*) from transaction_spec"
end

local function insert(tx, id)
    return check(tx:exec("insert into transaction_spec values ($1, 0)", id))
end

describe("a transaction", function()
    local db

    setup(function()
        db = open { pool = { min = 0, max = 1 } }
        assert(db:script [[
            drop table if exists transaction_spec, transaction_spec_child;
            create table transaction_spec (id int primary key, n int);
            create table transaction_spec_child (
                id int references transaction_spec deferrable initially deferred);
        ]])
    end)

    before_each(function()
        assert(db:exec "truncate transaction_spec, transaction_spec_child")
    end)

    after_each(function()
        assert.equal(0, db:stats().active_connections, "every test gives its connection back")
    end)

    teardown(function()
        assert(db:script "drop table transaction_spec_child; drop table transaction_spec")
        db:close()
    end)

    it("commits when its function returns", function()
        db:transaction(function(tx) insert(tx, 1) end)
        assert.equal(1, count(db))
    end)

    it("returns whatever its function returns, nils and all", function()
        local function results(...)
            local given = portable.pack(...)
            return portable.pack(db:transaction(function() return portable.unpack(given, 1, given.n) end))
        end
        assert.same({ n = 0 }, results())
        assert.same({ 1, "two", n = 2 }, results(1, "two"))
        assert.same({ 1, nil, 3, nil, n = 4 }, results(1, nil, 3, nil))
        assert.same({ n = 1 }, results(nil))
        assert.same({ n = 3 }, results(nil, nil, nil))
        assert.same({ false, n = 1 }, results(false))
        assert.same({ true, "not an error", n = 2 }, results(true, "not an error"))
    end)

    it("commits when its function returns nil, or false, and nothing else", function()
        db:transaction(function(tx) insert(tx, 1) return nil end)
        db:transaction(function(tx) insert(tx, 2) return false end)
        db:transaction(function(tx) insert(tx, 3) return nil, nil end)
        assert.equal(3, count(db))
    end)

    it("is rolled back when its function returns nil and an error, or false and an error", function()
        local why = {}
        local results = portable.pack(db:transaction(function(tx) insert(tx, 1) return nil, why, 3 end))
        assert.equal(3, results.n)
        assert.is_nil(results[1])
        assert.equal(why, results[2])
        results = portable.pack(db:transaction(function(tx) insert(tx, 1) return false, "no" end))
        assert.same({ false, "no", n = 2 }, results)
        assert.equal(0, count(db))
    end)

    it("is rolled back when its function raises an error, which is raised again as it was", function()
        local thing = setmetatable({}, { __tostring = function() return "thing" end })
        for _, what in ipairs { thing, "text", 5, true } do
            local ok, err = pcall(db.transaction, db, function(tx) insert(tx, 1) error(what, 0) end)
            assert.is_false(ok)
            assert.equal(what, err)
        end
        assert.equal(0, count(db))
    end)

    it("is rolled back by error(nil)", function()
        local results = portable.pack(pcall(db.transaction, db, function(tx) insert(tx, 1) error(nil) end))
        assert.is_false(results[1])
        assert.is_nil(results[2])
        assert.equal(0, count(db))
    end)

    it("returns nil and tidepool's error when a statement in it was asserted", function()
        local err = fails("database", db:transaction(function(tx)
            insert(tx, 1)
            insert(tx, 1)
        end))
        assert.equal("unique_violation", err.name)
        assert.equal(1, err.attempts)
        assert.equal(0, count(db))
    end)

    it("shows its own changes, and hides them from others until it commits", function()
        local other = closing(open())
        db:transaction(function(tx)
            insert(tx, 1)
            assert.equal(1, tx:value "select count(*) from transaction_spec")
            assert.equal(0, count(other))
        end)
        assert.equal(1, count(other))
    end)

    it("has the query methods of a connection, with parameters and options", function()
        db:transaction(function(tx)
            assert.equal(3, tx:value("select $1::int + 1", 2))
            assert.same({ a = 1 }, tx:one "select 1 as a")
            assert.same({ 1 }, { tx:query { "select 1", as = "arrays" }[1][1] })
            assert.equal("SELECT", tx:exec("select 1").command)
            assert.equal(2, #tx:script "select 1; select 2")
        end)
    end)

    it("sets isolation, read_only and deferrable on the server", function()
        local function shown(options)
            return assert(db:transaction(function(tx)
                return tx:one [[select current_setting('transaction_isolation') as isolation,
                    current_setting('transaction_read_only') as read_only,
                    current_setting('transaction_deferrable') as deferrable]]
            end, options))
        end
        assert.same({ isolation = "read committed", read_only = "off", deferrable = "off" }, shown())
        for _, level in ipairs { "serializable", "repeatable read", "read committed", "read uncommitted" } do
            assert.equal(level, shown { isolation = level }.isolation)
        end
        assert.same({ isolation = "serializable", read_only = "on", deferrable = "on" },
            shown { isolation = "serializable", read_only = true, deferrable = true })
        assert(db:exec "set default_transaction_read_only = on")
        assert.equal("off", shown { read_only = false }.read_only)
        assert(db:exec "reset default_transaction_read_only")
    end)

    it("refuses to write when it is read_only", function()
        local err = fails("database", db:transaction(function(tx) insert(tx, 1) end, { read_only = true }))
        assert.equal("read_only_sql_transaction", err.name)
        assert.equal(1, db:value "select 1")
    end)

    it("raises an error for an unknown option, or one of a wrong type", function()
        local function with(options)
            return function() db:transaction(print, options) end
        end
        assert.error_matches(with { isolaton = "serializable" }, "unknown option 'isolaton' of a transaction")
        assert.error_matches(with { isolation = "strict" }, "isolation must be")
        assert.error_matches(with { isolation = true }, "isolation must be")
        assert.error_matches(with { read_only = 1 }, "read_only must be a boolean")
        assert.error_matches(with { deferrable = "yes" }, "deferrable must be a boolean")
        assert.error_matches(with { retries = -1 }, "retries must be")
        assert.error_matches(with { retries = 1.5 }, "retries must be")
        assert.error_matches(with { retries = "3" }, "retries must be")
        assert.error_matches(with { timeout_ms = -1 }, "timeout_ms must be")
        assert.error_matches(with(5), "options")
        assert.error_matches(function() db:transaction() end, "a function expected")
        assert.error_matches(function() db:transaction "select 1" end, "a function expected")
    end)

    it("blames the caller for a wrong option", function()
        for _, options in ipairs { { isolation = "strict" }, { nonsense = 1 }, { retries = -1 } } do
            local _, err = pcall(function() db:transaction(print, options) end)
            assert.truthy(err:find("transaction_spec.lua:", 1, true), err)
        end
    end)

    it("fails when a statement in it had failed and its function went on regardless", function()
        local err = fails("database", db:transaction(function(tx)
            insert(tx, 1)
            tx:exec "selekt"
            return "fine"
        end))
        assert.truthy(err.message:find("rolled back", 1, true))
        assert.equal(0, count(db))
    end)

    it("fails when a statement in it has ended it", function()
        for _, statement in ipairs { "rollback", "commit" } do
            local err = fails("validation", db:transaction(function(tx)
                insert(tx, 1)
                tx:exec(statement)
                return "fine"
            end))
            assert.truthy(err.message:find("ended", 1, true), err.message)
            assert(db:exec "truncate transaction_spec, transaction_spec_child")
        end
    end)

    it("fails, and is rolled back, when COMMIT finds a deferred constraint violated", function()
        local err = fails("database", db:transaction(function(tx)
            insert(tx, 1)
            check(tx:exec "insert into transaction_spec_child values (99)")
            return "fine"
        end))
        assert.equal("foreign_key_violation", err.name)
        assert.equal("transaction_spec_child_id_fkey", err.constraint)
        assert.equal(0, count(db))
    end)

    it("cannot be used after its end", function()
        local kept
        db:transaction(function(tx) kept = tx end)
        for _, method in ipairs { "query", "one", "value", "exec", "script" } do
            assert.equal("the transaction has ended", fails("validation", kept[method](kept, "select 1")).message)
        end
        fails("validation", kept:transaction(print))
        assert.truthy(tostring(kept):find "ended")
        pcall(db.transaction, db, function(tx) kept = tx error "x" end)
        fails("validation", kept:query "select 1")
    end)

    it("gives its connection back clean when a statement in it takes too long", function()
        local pid = db:value "select pg_backend_pid()"
        fails("timeout", db:transaction(function(tx)
            insert(tx, 1)
            return tx:query { "select pg_sleep(20)", timeout_ms = 30 }
        end))
        assert.equal(0, count(db))
        assert.equal(pid, db:value "select pg_backend_pid()")
    end)

    it("within a transaction on a pool of one fails at once instead of waiting for itself", function()
        local began = server.now()
        local err = fails("busy", db:transaction(function() return db:transaction(print) end))
        assert.is_true(server.now() - began < 2500)
        assert.truthy(err.message:find("transaction_spec.lua", 1, true), err.message)
    end)

    it("whose coroutine is dropped in the middle costs one connection and nothing else", function()
        local function drop() -- in a call of its own, whose variables nobody holds
            local co = coroutine.create(function()
                db:transaction(function(tx)
                    insert(tx, 1)
                    coroutine.yield "inside"
                end)
            end)
            assert.same({ true, "inside" }, { coroutine.resume(co) })
        end
        for _ = 1, 3 do
            drop()
            collectgarbage()
            assert.equal(0, count(db))
        end
        assert.equal(3, db:stats().closed.discarded)
    end)

    it("goes on when its coroutine is resumed", function()
        local co = coroutine.wrap(function()
            return db:transaction(function(tx)
                insert(tx, 1)
                insert(tx, coroutine.yield "inside")
                return "done"
            end)
        end)
        assert.equal("inside", co())
        assert.equal("done", co(2))
        assert.equal(2, count(db))
    end)

    describe("within a transaction", function()
        it("commits with the outer one", function()
            local result = db:transaction(function(tx)
                insert(tx, 1)
                local inner = { tx:transaction(function(sub) insert(sub, 2) return "a", "b" end) }
                assert.same({ "a", "b" }, inner)
                return "outer"
            end)
            assert.equal("outer", result)
            assert.equal(2, count(db))
        end)

        it("is rolled back alone when it fails", function()
            db:transaction(function(tx)
                insert(tx, 1)
                assert.same({ n = 2, nil, "no" }, portable.pack(tx:transaction(function(sub)
                    insert(sub, 2)
                    return nil, "no"
                end)))
                local err = fails("database", tx:transaction(function(sub)
                    insert(sub, 3)
                    insert(sub, 1)
                end))
                assert.equal("unique_violation", err.name)
                local ok, raised = pcall(tx.transaction, tx, function(sub)
                    insert(sub, 4)
                    error("text", 0)
                end)
                assert.is_false(ok)
                assert.equal("text", raised)
                insert(tx, 5)
            end)
            assert.equal(2, count(db))
            assert.equal(6, db:value "select sum(id) from transaction_spec")
        end)

        it("fails when a statement in it had failed and its function went on regardless", function()
            db:transaction(function(tx)
                insert(tx, 1)
                fails("database", tx:transaction(function(sub)
                    sub:exec "selekt"
                    return "fine"
                end))
                insert(tx, 2)
            end)
            assert.equal(2, count(db))
        end)

        it("says why it failed where its connection is of no use any more", function()
            local result, failure = db:transaction(function(tx)
                insert(tx, 1)
                fails("timeout", tx:transaction(function(sub)
                    return sub:exec { "select pg_sleep(60)", timeout_ms = 20 }
                end))
                return "fine"
            end)
            assert.is_nil(result)
            assert.equal("busy", failure.kind)
            local err = fails("connection", db:transaction(function(tx)
                return tx:transaction(function(sub)
                    return sub:exec "select pg_terminate_backend(pg_backend_pid()), pg_sleep(60)"
                end)
            end))
            assert.equal("57P01", err.code)
            assert.equal(0, count(db))
        end)

        it("that could not be rolled back is not committed with the outer one", function()
            local rows
            local err = fails("busy", db:transaction(function(tx)
                insert(tx, 1)
                tx:transaction(function(sub)
                    insert(sub, 2)
                    local next_row, _, _, opened = sub:each "select generate_series(1, 100000)"
                    rows = opened
                    next_row()
                    return nil, "no"
                end)
                rows:close() -- and all is well again, but for the savepoint
                insert(tx, 3)
                return "fine"
            end))
            assert.matches("could not be rolled back", err.message)
            assert.equal(0, count(db))
        end)

        it("nests three deep", function()
            db:transaction(function(tx)
                insert(tx, 1)
                tx:transaction(function(sub)
                    insert(sub, 2)
                    sub:transaction(function(deep)
                        insert(deep, 3)
                        return nil, "no"
                    end)
                    sub:transaction(function(deep) insert(deep, 4) end)
                end)
            end)
            assert.equal(7, db:value "select sum(id) from transaction_spec")
        end)

        it("is undone with the outer one", function()
            db:transaction(function(tx)
                tx:transaction(function(sub) insert(sub, 1) end)
                return nil, "no"
            end)
            assert.equal(0, count(db))
        end)

        it("leaves no savepoint behind, whether it fails or not", function()
            for _, result in ipairs { true, false } do
                db:transaction(function(tx)
                    tx:transaction(function() return result, not result and "no" or nil end)
                    assert.equal("3B001", fails("database", tx:exec "rollback to savepoint tidepool_1").code)
                end)
            end
        end)

        it("takes no options, ends, and cannot be used after that", function()
            db:transaction(function(tx)
                assert.has_error(function() tx:transaction(print, { isolation = "serializable" }) end)
                assert.has_error(function() tx:transaction() end)
                local kept
                tx:transaction(function(sub) kept = sub end)
                fails("validation", kept:exec "select 1")
                insert(tx, 1)
            end)
            assert.equal(1, count(db))
        end)
    end)

    describe("on an acquired connection", function()
        it("commits, rolls back and leaves the connection with its borrower", function()
            local conn = closing(assert(db:acquire()))
            assert.equal("x", conn:transaction(function(tx) insert(tx, 1) return "x" end))
            conn:transaction(function(tx) insert(tx, 2) return nil, "no" end)
            local ok = pcall(conn.transaction, conn, function(tx) insert(tx, 3) error "x" end)
            assert.is_false(ok)
            assert.equal("serializable", conn:transaction(function(tx)
                return tx:value "show transaction_isolation"
            end, { isolation = "serializable" }))
            assert.equal("idle", conn:transaction_state())
            assert.equal(1, count(conn))
        end)

        it("is refused while one is open", function()
            local conn = closing(assert(db:acquire()))
            conn:exec "begin"
            fails("validation", conn:transaction(print))
            conn:exec "selekt"
            fails("validation", conn:transaction(print))
            conn:exec "rollback"
            fails("validation", conn:transaction(function() return conn:transaction(print) end))
        end)

        it("is refused after its release", function()
            local conn = assert(db:acquire())
            conn:release()
            fails("validation", conn:transaction(print))
        end)
    end)
end)

describe("a transaction that conflicts", function()
    local db, other

    setup(function()
        db, other = open(), open()
        assert(db:script [[drop table if exists transaction_retry;
            create table transaction_retry (id int primary key, n int)]])
    end)

    before_each(function()
        assert(db:script "truncate transaction_retry; insert into transaction_retry values (1, 0), (2, 0)")
    end)

    teardown(function()
        assert(db:exec "drop table transaction_retry")
        db:close()
        other:close()
    end)

    -- Reads, lets the other one write `conflicts` times, and writes what it read and one more.
    local function increment(conflicts)
        local runs = 0
        return function(tx)
            runs = runs + 1
            local n = check(tx:value "select n from transaction_retry where id = 1")
            if runs <= conflicts then
                assert(other:exec "update transaction_retry set n = n + 10 where id = 1")
            end
            check(tx:exec("update transaction_retry set n = $1 where id = 1", n + 1))
            return runs
        end
    end

    it("fails with 40001 when no retries were asked for", function()
        local err = fails("database", db:transaction(increment(1), { isolation = "serializable" }))
        assert.equal("40001", err.code)
        assert.equal("serialization_failure", err.name)
        assert.is_true(err.retryable)
        assert.equal(1, err.attempts)
    end)

    it("is run again as a whole on 40001 when asked", function()
        local seen = {}
        local stop = db:on("retry", function(event) seen[#seen + 1] = event end)
        local before = db:stats().retries
        assert.equal(3, db:transaction(increment(2), { isolation = "repeatable read", retries = 3 }))
        assert.equal(21, db:value "select n from transaction_retry where id = 1")
        assert.equal(before + 2, db:stats().retries)
        assert.equal(2, #seen)
        assert.equal("40001", seen[1].code)
        assert.equal(1, seen[1].attempt)
        assert.equal(2, seen[2].attempt)
        stop()
    end)

    it("gives up after the retries that were asked for, with the number of attempts", function()
        local err = fails("database", db:transaction(increment(9), { isolation = "serializable", retries = 2 }))
        assert.equal("40001", err.code)
        assert.equal(3, err.attempts)
        assert.equal(30, db:value "select n from transaction_retry where id = 1")
    end)

    it("is run again when its function returns the error instead of raising it", function()
        local runs = 0
        assert.equal("ok", db:transaction(function(tx)
            runs = runs + 1
            if runs == 1 then
                return tx:exec "do $$ begin raise serialization_failure; end $$"
            end
            return "ok"
        end, { retries = 1 }))
    end)

    it("is run again when COMMIT finds the conflict", function()
        local runs = 0
        assert(db:transaction(function(tx)
            runs = runs + 1
            check(tx:value "select sum(n) from transaction_retry")
            check(tx:exec "update transaction_retry set n = n + 1 where id = 1")
            if runs == 1 then
                assert(other:transaction(function(second)
                    check(second:value "select sum(n) from transaction_retry")
                    check(second:exec "update transaction_retry set n = n + 1 where id = 2")
                    return true
                end, { isolation = "serializable" }))
            end
            return true
        end, { isolation = "serializable", retries = 1 }))
        assert.equal(2, runs)
    end)

    it("is not run again for other errors, whatever retries says", function()
        local runs = 0
        local err = fails("database", db:transaction(function(tx)
            runs = runs + 1
            return tx:exec "insert into transaction_retry values (1, 0)"
        end, { retries = 5 }))
        assert.equal("23505", err.code)
        assert.equal(1, runs)
        pcall(db.transaction, db, function() runs = runs + 1 error "x" end, { retries = 5 })
        assert.equal(2, runs)
    end)

    it("is run again after a deadlock", function()
        -- A session of psql holds row 2 and wants row 1, which the transaction holds; the transaction wants row 2 then.
        local child = require "spec.support.child"
        local runs = 0
        local second
        local result = db:transaction(function(tx)
            runs = runs + 1
            check(tx:exec "set local deadlock_timeout = '20ms'")
            check(tx:exec "update transaction_retry set n = n + 1 where id = 1")
            if runs == 1 then
                second = child.start(([[
                    local db = require "tidepool".open { url = %q, log = { queries = false } }
                    print(db:transaction(function(tx)
                        assert(tx:exec "set local deadlock_timeout = '20s'")
                        assert(tx:exec "update transaction_retry set n = n + 100 where id = 2")
                        assert(tx:exec "update transaction_retry set n = n + 100 where id = 1")
                        return "done"
                    end))]]):format(server.url()))
                assert.is_true(server.wait(function()
                    return other:value [[select count(*) from pg_locks where not granted]] > 0
                end))
            end
            check(tx:exec "update transaction_retry set n = n + 1 where id = 2")
            return "first"
        end, { retries = 2 })
        assert.equal("done\n", (second.finish()))
        assert.equal("first", result)
        assert.equal(2, runs)
        assert.equal(202, db:value "select sum(n) from transaction_retry")
    end)
end)

describe("a transaction whose connection is lost", function()
    local db

    setup(function()
        db = open()
        assert(db:script [[
            drop table if exists transaction_lost;
            create table transaction_lost (id int);
            create or replace function transaction_lost_dies() returns trigger language plpgsql as $$
            begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1); return null; end $$;
        ]])
    end)

    teardown(function()
        assert(db:script "drop table transaction_lost; drop function transaction_lost_dies")
        db:close()
    end)

    local function die(tx)
        tx:exec "select pg_terminate_backend(pg_backend_pid()), pg_sleep(1)"
    end

    it("before COMMIT fails with the connection's error", function()
        local err = fails("connection", db:transaction(function(tx)
            check(tx:exec "insert into transaction_lost values (1)")
            return tx:exec "select pg_terminate_backend(pg_backend_pid()), pg_sleep(1)"
        end))
        assert.equal("57P01", err.code)
        assert.equal(0, db:value "select count(*) from transaction_lost")
    end)

    it("before COMMIT is run again when asked", function()
        local runs = 0
        assert.equal("ok", db:transaction(function(tx)
            runs = runs + 1
            check(tx:exec "insert into transaction_lost values (1)")
            if runs == 1 then
                check(tx:exec "select pg_terminate_backend(pg_backend_pid()), pg_sleep(1)")
            end
            return "ok"
        end, { retries = 1 }))
        assert.equal(2, runs)
        assert.equal(1, db:value "select count(*) from transaction_lost")
    end)

    it("before COMMIT is no commit_unknown, even when its function went on regardless", function()
        local err = fails("connection", db:transaction(function(tx)
            check(tx:exec "insert into transaction_lost values (5)")
            die(tx)
            return "fine"
        end))
        assert.is_nil(err.message:find("carried out", 1, true), err.message)
        assert.equal(0, db:value "select count(*) from transaction_lost where id = 5")
    end)

    it("before COMMIT is no commit_unknown behind a COPY, a script or a pipeline", function()
        local killer = closing(open())
        for i, write in ipairs {
            function(tx) return tx:copy_in("transaction_lost", { { 6 } }) end,
            function(tx) return tx:script "insert into transaction_lost values (6)" end,
            function(tx) return tx:query_many("insert into transaction_lost values ($1)", { { 6 } }) end,
        } do
            local runs = 0
            local function block(tx)
                runs = runs + 1
                local pid = tx:value "select pg_backend_pid()"
                check(write(tx))
                if runs % 2 == 1 then
                    assert.is_true(killer:value("select pg_terminate_backend($1, 5000)", pid))
                end
                return "ok"
            end
            fails("connection", db:transaction(block))
            runs = 0
            assert.equal("ok", db:transaction(block, { retries = 1 }))
            assert.equal(i, db:value "select count(*) from transaction_lost where id = 6")
        end
    end)

    it("at COMMIT is run again when it was rolled back", function()
        assert(db:script [[create constraint trigger dies after insert on transaction_lost
            deferrable initially deferred for each row execute function transaction_lost_dies()]])
        local runs = 0
        local err = fails("connection", db:transaction(function(tx)
            runs = runs + 1
            check(tx:exec "insert into transaction_lost values (7)")
            return "fine"
        end, { retries = 1 }))
        assert.equal(2, runs)
        assert.equal("aborted", err.verdict)
        assert(db:exec "drop trigger dies on transaction_lost")
        assert.equal(0, db:value "select count(*) from transaction_lost where id = 7")
    end)

    it("while it lay idle begins on another, unseen, every time", function()
        local killer = closing(open())
        for i = 1, 50 do
            local pid = db:value "select pg_backend_pid()"
            killer:value("select pg_terminate_backend($1)", pid)
            assert.is_true(server.wait(function()
                return killer:value("select count(*) from pg_stat_activity where pid = $1", pid) == 0
            end))
            assert.equal(i, db:transaction(function(tx) return tx:value("select $1::int", i) end))
        end
    end)

    it("while it lay idle begins on another even while it is ending", function()
        local killer = closing(open())
        for i = 1, 50 do
            killer:value("select pg_terminate_backend($1)", db:value "select pg_backend_pid()")
            assert.equal(i, db:transaction(function(tx) return tx:value("select $1::int", i) end))
        end
    end)
end)
