--- A link that is lost at COMMIT: what the caller is told is what the server did.
-- Only Lua 5.4: what is proven is the core's and the transaction's, which are the same everywhere.
-- Alone: how soon all is well again depends on who else is busy.
local lab = require "spec.faults.lab"
local proxy = require "spec.faults.proxy"
local server = require "spec.support.server"
local verdict = require "tidepool.verdict"
local expect = require "spec.support.expect"

local fails, takes = expect.fails, expect.takes

describe("a link that is lost at COMMIT", function()
    local link, seen
    setup(function()
        server.psql "create table commit_lost (id int primary key)"
        link = proxy.start()
    end)
    teardown(function()
        link:stop()
        server.psql "drop table commit_lost"
    end)
    before_each(function() seen = {} end)
    after_each(function() link:pass() end)

    local function open(name, options)
        local where = { url = link:url { application_name = name }, pool = { min = 0, max = 2 },
            log = { queries = false, slow_ms = 0, connections = false,
                sink = function(level, text) seen[#seen + 1] = level .. " " .. text end } }
        for option, value in pairs(options or {}) do where[option] = value end
        return lab.open(where)
    end

    local function count(id)
        return tonumber(server.psql("select count(*) from commit_lost where id = " .. id))
    end

    -- Each way in which something is written; with the id that the row gets.
    local ways = {
        ["a statement"] = function(tx, id) return tx:exec("insert into commit_lost values ($1)", id) end,
        ["a statement that returns"] = function(tx, id)
            return tx:value("insert into commit_lost values ($1) returning id", id)
        end,
        ["a statement among others"] = function(tx, id)
            assert(tx:value "select count(*) from commit_lost")
            assert(tx:exec("insert into commit_lost values ($1)", id))
            return tx:value "select count(*) from commit_lost"
        end,
        ["a savepoint"] = function(tx, id)
            return tx:transaction(function(inner) return inner:exec("insert into commit_lost values ($1)", id) end)
        end,
        ["a script"] = function(tx, id) return tx:script(("insert into commit_lost values (%d)"):format(id)) end,
        ["a pipeline"] = function(tx, id)
            return tx:query_many("insert into commit_lost values ($1)", { { id } })
        end,
        COPY = function(tx, id) return tx:copy_in("commit_lost", { { id } }) end,
    }
    local id = 0

    for name, write in pairs(ways) do
        for _, how in ipairs { "close", "reset" } do
            it(("after %s and %s is a success when the server has carried it out"):format(name, how), function()
                lab.leaves_nothing(function(label)
                    local db <close> = open(label)
                    id = id + 1
                    assert.equal(1, db:value "select 1")
                    link:lose_commit("after", how)
                    local runs = 0
                    local result, err = db:transaction(function(tx)
                        runs = runs + 1
                        assert(write(tx, id))
                        return "done"
                    end, { retries = 3 })
                    assert.equal("done", result, tostring(err))
                    assert.equal(1, runs)
                    assert.equal(1, count(id))
                    assert.equal(1, #seen)
                    assert.matches("warning the connection was lost at COMMIT of transaction %d+: committed", seen[1])
                end)
            end)

            it(("after %s and %s is an error when it has not, and may be tried again"):format(name, how), function()
                lab.leaves_nothing(function(label)
                    local db <close> = open(label)
                    id = id + 1
                    assert.equal(1, db:value "select 1")
                    link:lose_commit("before", how)
                    local runs = 0
                    local function block(tx)
                        runs = runs + 1
                        assert(write(tx, id))
                        return "done"
                    end
                    local err = fails("connection", db:transaction(block))
                    assert.equal("aborted", err.verdict)
                    assert.is_true(err.retryable)
                    assert.matches("rolled back", err.message)
                    assert.equal(0, count(id))
                    link:lose_commit("before", how)
                    assert.equal("done", (db:transaction(block, { retries = 1 })))
                    assert.equal(3, runs)
                    assert.equal(1, count(id))
                end)
            end)
        end
    end

    -- A session that is halted when its COMMIT comes: what it does when it goes on is its own affair.
    local function halt(tx)
        local pid = tx:value "select pg_backend_pid()"
        os.execute(("kill -STOP %d; (sleep 0.6; kill -CONT %d) &"):format(pid, pid))
    end

    it("because of its deadline is found out, and who does not answer is ended", function()
        lab.leaves_nothing(function(label)
            local db <close> = open(label, { query_timeout_ms = 300 })
            id = id + 1
            local result, err = db:transaction(function(tx)
                assert(ways["a statement"](tx, id))
                halt(tx)
                return "done"
            end)
            if result then
                assert.equal(1, count(id))
            else
                assert.equal("connection", err.kind)
                assert.equal("aborted", err.verdict)
                assert.equal(0, count(id))
            end
        end)
    end)

    it("because of its deadline has its block run again when it was rolled back, and else not", function()
        lab.leaves_nothing(function(label)
            local db <close> = open(label, { query_timeout_ms = 300 })
            id = id + 1
            local runs = 0
            assert.equal("done", (db:transaction(function(tx)
                runs = runs + 1
                assert(ways["a statement"](tx, id))
                if runs == 1 then halt(tx) end
                return "done"
            end, { retries = 1 })))
            assert.equal(1, count(id)) -- a second insert of it would have failed
        end)
    end)

    it("is found out although as many wait for a connection as may", function()
        local cqueues = require "cqueues"
        lab.leaves_nothing(function(label)
            local db <close> = open(label, { pool = { min = 0, max = 1, max_waiting = 1 } })
            id = id + 1
            local loop, result, err, other = cqueues.new(), nil, nil, nil
            link:lose_commit("after", "close")
            loop:wrap(function()
                result, err = db:transaction(function(tx)
                    assert(ways["a statement"](tx, id))
                    loop:wrap(function() other = db:value "select 1" end)
                    while db:stats().waiting_requests == 0 do cqueues.sleep(0.001) end
                    return "done"
                end)
            end)
            assert(loop:loop())
            assert.equal("done", result, tostring(err))
            assert.equal(1, other)
            assert.equal(1, count(id))
        end)
    end)

    it("is asked about for as long as retry.verdict_ms says, and no longer", function()
        lab.leaves_nothing(function(label)
            local db <close> = open(label, { retry = { verdict_ms = 200 }, pool = { min = 0, max = 1 } })
            id = id + 1
            assert.equal(1, db:value "select 1")
            link:lose_commit("after", "close")
            local err = takes(0, 2000, function()
                return fails("commit_unknown", db:transaction(function(tx)
                    assert(ways["a statement"](tx, id))
                    link:refuse()
                    return "done"
                end, { retries = 2 }))
            end)
            link:accept()
            assert.equal("unknown", err.verdict)
            assert.matches("^%d+$", err.xid)
            assert.equal(1, count(id))
        end)
    end)

    it("is not asked about without it, nor where nothing was written", function()
        lab.leaves_nothing(function(label)
            local db <close> = open(label, { retry = { verdict_ms = 0 } })
            id = id + 1
            assert.equal(1, db:value "select 1")
            link:lose_commit("after", "close")
            local err = fails("commit_unknown", db:transaction(function(tx) return ways["a statement"](tx, id) end))
            assert.is_nil(err.verdict)
            local other <close> = open(label)
            assert.equal(1, other:value "select 1")
            link:lose_commit("after", "close")
            err = fails("commit_unknown", other:transaction(function(tx) return tx:value "select 1" end))
            assert.is_nil(err.verdict)
        end)
    end)

    it("on a connection that the program holds is found out over another one", function()
        lab.leaves_nothing(function(label)
            local db <close> = open(label)
            id = id + 1
            local conn <close> = assert(db:acquire())
            link:lose_commit("after", "close")
            assert.equal("done", (conn:transaction(function(tx)
                assert(ways["a statement"](tx, id))
                return "done"
            end)))
            assert.equal(1, count(id))
        end)
    end)
end)

describe("the id of a transaction", function()
    it("is known after what writes, and does not survive its transaction", function()
        server.psql "create table commit_ids (id int)"
        local db <close> = lab.open { pool = { min = 0, max = 1 } }
        local conn <close> = assert(db:acquire())
        assert.is_nil((conn:_xact()))
        assert(conn:exec "begin")
        assert(conn:value "select 1")
        assert.is_nil((conn:_xact()))
        assert(conn:exec("insert into commit_ids values ($1)", 1))
        local xact = conn:_xact()
        assert.equal(conn:value "select pg_current_xact_id()::text", xact:match "^%d+")
        assert(conn:exec "rollback")
        assert.is_nil((conn:_xact()))
        server.psql "drop table commit_ids"
    end)

    -- BEGIN, INSERT and COMMIT are three round trips over a link on which each takes at least 80 ms.
    it("costs no round trip", function()
        server.psql "create table commit_trips (id int)"
        local link = proxy.start()
        local function shortest(verdict_ms)
            local retry = { verdict_ms = verdict_ms }
            local db <close> = lab.open { url = link:url(), pool = { min = 0, max = 1 }, retry = retry }
            local best = math.huge
            for run = 1, 4 do
                local began = server.now()
                assert(db:transaction(function(tx) return tx:exec("insert into commit_trips values ($1)", run) end))
                best = math.min(best, server.now() - began) -- the first one connects and prepares
            end
            return best
        end
        link:pace(nil, 0, 40)
        local with, without = shortest(5000), shortest(0)
        link:stop()
        server.psql "drop table commit_trips"
        assert.is_true(without >= 240, ("%.0f ms"):format(without))
        assert.is_true(with < without * 7 / 6, ("%.0f ms with it, %.0f ms without"):format(with, without))
    end)

    it("of before a crash says nothing of what was committed", function()
        server.psql "create table commit_crash (id int)"
        local db <close> = lab.open { pool = { min = 0, max = 1 } }
        local function done(ending)
            local conn <close> = assert(db:acquire())
            assert(conn:exec "begin")
            assert(conn:exec("insert into commit_crash values ($1)", 1))
            local xact = conn:_xact()
            assert(conn:exec(ending))
            return xact
        end
        local committed, aborted = done "commit", done "rollback"
        assert.equal("committed", verdict.find(db, committed, 0))
        assert.equal("aborted", verdict.find(db, aborted, 0))
        local unwritten = "99999999 " .. committed:match " (.+)$"
        assert.equal("aborted", verdict.find(db, unwritten, 0), "it was never written down")
        server.kill9()
        server.start_again()
        assert.equal("unknown", verdict.find(db, committed, 0))
        assert.equal("aborted", verdict.find(db, aborted, 0))
        server.psql "drop table commit_crash"
    end)
end)
