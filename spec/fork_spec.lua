--- Forks: a child has connections of its own, and its parent's sessions never hear of it.
local tidepool = require "tidepool"
local fork = require "spec.support.fork"
local server = require "spec.support.server"
local tls = require "spec.support.tls"

-- ThreadSanitizer starts no threads in the child of a process that had some.
local test = os.getenv "TIDEPOOL_TEST_VARIANT" == "tsan" and pending or it

local count = 0

local function open(options)
    count = count + 1
    local name = "fork_spec " .. count
    local where = {
        url = server.url { application_name = name }, log = { queries = false }, pool = { min = 0, max = 2 },
    }
    for key, value in pairs(options or {}) do
        where[key] = value
    end
    return assert(tidepool.open(where)), name
end

local function equal(expected, actual)
    if expected ~= actual then
        error(("%s expected, got %s"):format(tostring(expected), tostring(actual)), 2)
    end
end

local function pid_of(db)
    return assert(db:value "select pg_backend_pid()")
end

-- That an error says whose the connection is.
local function is_parents(ok, err)
    equal(false, ok and true or false)
    equal("validation", err.kind)
    equal("the connection is the parent process's: acquire one in this process", err.message)
end

-- Nothing has happened to the one connection of the parent's.
local function assert_undisturbed(db, name, pid)
    assert.equal(pid, pid_of(db))
    assert.equal(1, server.backends(name))
    local stats = db:stats()
    assert.equal(1, stats.created)
    assert.equal(0, stats.closed.dead)
    assert.equal(0, stats.closed.server_gone)
    assert.is_nil(stats.errors.connection)
end

describe("a forked child", function()
    it("that acquires nothing closes the pool for itself alone", function()
        local db, name = open()
        local conn = assert(db:acquire())
        local pid = pid_of(conn)
        fork.run(function()
            is_parents(conn:query "select 1")
            db:close()
            equal("closed", db:state().state)
            is_parents(conn:release())
        end)
        assert.equal(pid, pid_of(conn))
        conn:release()
        assert_undisturbed(db, name, pid)
        db:close()
    end)

    test("has a session of its own, and the parent's outlives it", function()
        local db, name = open()
        local pid = pid_of(db)
        local answer = fork.run(function()
            local own = pid_of(db)
            equal(own, pid_of(db))
            equal(2, server.backends(name))
            return own
        end)
        assert.not_equal(tostring(pid), answer)
        assert_undisturbed(db, name, pid)
        db:close()
    end)

    local function leave(close)
        return function() os.exit(0, close) end
    end
    local ends = {
        { "ends without closing anything" },
        { "closes its Lua state at its exit", leave(true) },
        { "exits by os.exit alone", leave(false) },
    }
    for _, kind in ipairs(ends) do
        local how = kind[2]
        test("that " .. kind[1] .. " leaves its parent alone, whether it used the pool or not", function()
            local db, name = open()
            local pid = pid_of(db)
            local borrowed = assert(db:acquire())
            fork.run(function() end, how)
            fork.run(function() equal(1, db:value "select 1") end, how)
            fork.run(function() db:close() end, how)
            assert.equal(pid, borrowed:backend_pid())
            assert.equal(pid, pid_of(borrowed))
            borrowed:release()
            assert_undisturbed(db, name, pid)
            db:close()
        end)
    end

    test("takes its own connections along when it closes the pool", function()
        local db, name = open()
        local pid = pid_of(db)
        fork.run(function()
            local conn = assert(db:acquire())
            equal(1, conn:value "select 1")
            conn:release()
            db:close()
            equal(true, server.wait(function() return server.backends(name) == 1 end))
            local _, err = db:query "select 1"
            equal("pool_closed", err.kind)
        end)
        assert_undisturbed(db, name, pid)
        db:close()
    end)

    test("listens by a connection of its own, and its parent's listeners go on", function()
        local db, name = open()
        local listener = assert(db:listen "forked")
        local who, go_on = fork.fork()
        if who == "child" then
            local ok, problem = pcall(function()
                local note, err = listener:next(1000)
                equal(nil, note)
                equal("the listener is the parent process's: listen in this process", err.message)
                equal(true, listener:is_closed())
                listener:close()
                local own = assert(db:listen "forked")
                equal(2, server.backends(name))
                assert(db:notify("forked", "from the child"))
                equal("from the child", assert(own:next(5000)).payload)
                db:close()
            end)
            go_on(ok, problem)
        end
        assert.equal("from the child", assert(listener:next(10000)).payload)
        assert.equal("true\nnil", go_on())
        assert(db:notify("forked", "from the parent"))
        assert.equal("from the parent", assert(listener:next(5000)).payload)
        listener:close()
        db:close()
    end)

    test("is told that a connection of its parent's is not its own", function()
        local db, name = open()
        local conn = assert(db:acquire())
        local pid = pid_of(conn)
        local function try_all()
            for _, method in ipairs { "query", "one", "value", "exec", "script", "control" } do
                is_parents(conn[method](conn, "select 1"))
            end
            is_parents(conn:ping())
            is_parents(conn:backend_pid())
            is_parents(conn:query_many("select $1::int", { { 1 } }))
            is_parents(conn:pipeline(function(p) p:query "select 1" end))
            is_parents(conn:copy_out("(select 1)", print))
            is_parents(conn:transaction(print))
            is_parents(pcall(function() for _ in conn:each "select 1" do print "a row" end end))
            is_parents(conn:release())
            is_parents(db:release(conn))
            is_parents(conn:discard())
            equal("inherited", conn:transaction_state())
            equal(true, conn:is_released())
        end
        fork.run(function()
            try_all()
            equal(1, db:value "select 1") -- the pool has begun afresh
            try_all()
            local own = assert(db:acquire())
            equal("idle", own:transaction_state())
            own:release()
            conn, own = nil, nil -- luacheck: ignore 311
            collectgarbage()
            collectgarbage()
            equal(1, db:value "select 1")
        end)
        assert.equal(pid, pid_of(conn))
        conn:release()
        assert_undisturbed(db, name, pid)
        db:close()
    end)

    test("in mid-transaction of its parent sees nothing of it, and cannot end it", function()
        local db, name = open()
        assert(db:script "drop table if exists fork_kept; create table fork_kept (n int)")
        local pid = pid_of(db)
        local function insert_and_fork(tx)
            assert(tx:exec "insert into fork_kept values (1)")
            fork.run(function()
                is_parents(tx:query "select 1")
                is_parents(tx:exec "rollback")
                is_parents(tx:transaction(print))
                equal(0, db:value "select count(*) from fork_kept")
                equal("child", db:transaction(function(own)
                    assert(own:exec "insert into fork_kept values (2)")
                    return "child"
                end))
            end, leave(true))
            return assert(tx:value "select count(*) from fork_kept")
        end
        assert.equal(2, db:transaction(insert_and_fork)) -- what the child has committed is there, too
        assert.equal(2, db:value "select count(*) from fork_kept")
        assert_undisturbed(db, name, pid)
        assert(db:script "drop table fork_kept")
        db:close()
    end)

    test("that comes back from the block of its parent's transaction commits nothing and repeats nothing", function()
        local db, name = open()
        assert(db:script "drop table if exists fork_kept; create table fork_kept (n int)")
        local pid = pid_of(db)
        local runs, who, go_on = 0, nil, nil
        local result, err = db:transaction(function(tx)
            runs = runs + 1
            assert(tx:exec "insert into fork_kept values (1)")
            who, go_on = fork.fork()
            return "done"
        end, { retries = 5 })
        if who == "child" then
            local again, why = db:transaction(function() return nil, err end)
            go_on(result, err.kind, err.message, runs, again, why == err, db:value "select count(*) from fork_kept")
        end
        assert.equal("nil\nvalidation\nthe transaction is the parent process's, which may commit it\n1\nnil\ntrue\n1",
            go_on())
        assert.equal("done", result)
        assert.equal(1, db:value "select count(*) from fork_kept")
        assert_undisturbed(db, name, pid)
        assert(db:script "drop table fork_kept")
        db:close()
    end)

    test("whose call in its parent's transaction fails does not run the block again", function()
        local db = open()
        local runs, who, go_on = 0, nil, nil
        local _, err = db:transaction(function(tx)
            runs = runs + 1
            who, go_on = fork.fork()
            return tx:value "select 1"
        end, { retries = 5 })
        if who == "child" then
            go_on(err.kind, runs)
        end
        assert.equal("validation\n1", go_on())
        assert.is_nil(err)
        db:close()
    end)

    test("cannot go on with rows that its parent is reading", function()
        local db, name = open()
        local pid = pid_of(db)
        local sum, failure = 0, nil
        for row in db:each "select i from generate_series(1, 5000) i" do
            sum = sum + row.i
            if row.i == 10 then
                local who, go_on = fork.fork()
                if who == "child" then
                    -- Some rows have come already and may still be seen.
                    local ok, err = pcall(function()
                        for inherited in db:each "select 7 as i" do equal(7, inherited.i) end
                    end)
                    go_on(ok, err)
                end
                failure = go_on()
            end
        end
        assert.equal("true\nnil", failure)
        assert.equal(5000 * 5001 / 2, sum)
        assert_undisturbed(db, name, pid)

        local next_row, state, control = db:each "select i from generate_series(1, 200000) i"
        assert.equal(1, next_row(state, control).i)
        local answer = fork.run(function()
            local ok, err
            for _ = 1, 200000 do
                ok, err = pcall(next_row, state, control)
                if not ok then break end
            end
            equal(false, ok)
            return err.kind, err.message
        end)
        assert.equal("connection\nthe process was forked meanwhile", answer)
        local rows = 1
        while next_row(state, control) do rows = rows + 1 end
        assert.equal(200000, rows)
        db:close()
    end)

    test("keeps what its parent has read", function()
        local db = open()
        local rows = db:query { "select i, 'row ' || i as name from generate_series(1, 1000) i", as = "lazy" }
        assert.equal("row 1000", fork.run(function()
            equal(1, db:value "select 1")
            collectgarbage()
            return rows[1000].name
        end))
        assert.equal("row 999", rows[999].name)
        db:close()
    end)

    test("prepares its statements and knows its types", function()
        local db = open()
        assert(db:script "drop type if exists fork_mood; create type fork_mood as enum ('sad', 'glad')")
        local sql = "select $1::fork_mood as mood, $2::int[] as list"
        assert.equal("glad", db:one(sql, "glad", { 1 }).mood)
        assert.equal("sad\n3", fork.run(function()
            local row = assert(db:one(sql, "sad", { 2, 3 }))
            return row.mood, row.list[2]
        end))
        assert.equal("glad", db:one(sql, "glad", { 1 }).mood)
        assert(db:script "drop type fork_mood")
        db:close()
    end)

    test("hears of its own events only", function()
        local db = open()
        local heard = {}
        db:on("connect", function(event) heard[#heard + 1] = event.backend_pid end)
        local conn = assert(db:acquire()) -- whose connect is told at the next call
        assert.equal(1, tonumber((fork.run(function()
            heard = {}
            local own = pid_of(db)
            equal(own, heard[1])
            return #heard
        end))))
        conn:release()
        assert.equal(1, db:value "select 1")
        assert.equal(1, #heard)
        db:close()
    end)

    test("may fork itself", function()
        local db, name = open()
        local pid = pid_of(db)
        fork.run(function()
            local own = pid_of(db)
            local conn = assert(db:acquire())
            fork.run(function()
                is_parents(conn:query "select 1")
                local third = pid_of(db)
                equal(true, third ~= own and third ~= pid)
                is_parents(conn:query "select 1")
            end, leave(true))
            equal(own, pid_of(conn))
            conn:release()
            equal(own, pid_of(db))
        end, leave(true))
        assert.is_true(server.wait(function() return server.backends(name) == 1 end))
        assert_undisturbed(db, name, pid)
        db:close()
    end)

    test("has a pool of its own under a name", function()
        local name = "fork_spec named"
        local where = { url = server.url { application_name = name }, name = name, pool = { min = 0, max = 1 },
                        log = { queries = false } }
        local db, other = assert(tidepool.open(where)), assert(tidepool.open { name = name })
        local conn = assert(db:acquire())
        local pid = pid_of(conn) -- the pool of the parent is exhausted
        fork.run(function()
            local joined = assert(tidepool.open { name = name })
            local own = pid_of(joined)
            equal(true, own ~= pid)
            equal(own, pid_of(db))
            db:close()
            joined:close()
            equal(own, pid_of(other))
            other:close()
            local new = assert(tidepool.open(where)) -- that was the last
            equal(true, pid_of(new) ~= own)
            new:close()
        end, leave(true))
        assert.equal(pid, pid_of(conn))
        conn:release()
        assert.equal(pid, pid_of(other))
        assert_undisturbed(db, name, pid)
        db:close()
        other:close()
    end)

    test("finds a closed pool closed, and one that cannot connect as it was", function()
        local closed = open()
        assert.equal(1, closed:value "select 1")
        closed:close()
        local lost = open {
            url = "postgresql://u@127.0.0.1:1/db", pool = { min = 0, max = 1, acquire_timeout_ms = 50 },
        }
        assert.is_nil((lost:query "select 1"))
        local answer = fork.run(function()
            local _, first = closed:query "select 1"
            local _, second = lost:query "select 1"
            return first.kind, second.kind
        end)
        assert.equal("pool_closed\nconnection", answer)
        lost:close()
    end)

    test("leaves a TLS session of its parent's alone", function()
        local ok, why = tls.enable()
        assert.is_true(ok, why)
        local done, err = pcall(function()
            local name = "fork_spec tls"
            local db = open { url = tls.url { application_name = name } }
            local pid = pid_of(db)
            assert.is_true(db:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            fork.run(function() equal(true, pid_of(db) ~= pid) end, leave(true))
            fork.run(function() db:close() end, leave(true))
            assert_undisturbed(db, name, pid)
            db:close()
        end)
        tls.disable()
        assert.is_true(done, tostring(err))
    end)

    if pcall(require, "cqueues") then
        test("runs event loops of its own beside its parent's", function()
            local cqueues = require "cqueues"
            local db, name = open()
            local function loop()
                local queue, sum = cqueues.new(), 0
                for n = 1, 10 do
                    queue:wrap(function()
                        local value = assert(db:value("select $1::int from pg_sleep(0.002)", n))
                        sum = sum + value
                    end)
                end
                assert(queue:loop(30))
                return sum
            end
            assert.equal(55, loop())
            local pid = pid_of(db)
            assert.equal("55", fork.run(function() return ("%d"):format(loop()) end, leave(true)))
            assert.equal(55, loop())
            assert.is_true(server.wait(function() return server.backends(name) <= 2 end))
            assert.equal(0, db:stats().closed.dead)
            assert.is_number(pid)
            db:close()
        end)
    end
end)
