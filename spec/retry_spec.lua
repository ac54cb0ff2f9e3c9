--- Repetitions: how often, who says so, and that there are never too many of them.
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local closing = portable.closing

local function open(retry)
    retry = retry or {}
    retry.base_ms, retry.max_ms = retry.base_ms or 1, retry.max_ms or 2
    return closing(assert(tidepool.open {
        url = server.url(), pool = { min = 0, max = 1 }, retry = retry, log = { queries = false, slow_ms = 0 },
    }))
end

local function fails(result, err)
    assert.is_nil(result)
    assert.equal("40001", err.code, tostring(err))
    return err
end

describe("a statement that may be repeated", function()
    setup(function()
        server.psql [[create sequence retry_tries;
            create function retry_fails(int) returns int language plpgsql as $$ begin
                if nextval('retry_tries') < $1 then raise exception 'again' using errcode = '40001'; end if;
                return $1; end $$]]
    end)
    teardown(function() server.psql "drop function retry_fails(int); drop sequence retry_tries" end)
    before_each(function() server.psql "alter sequence retry_tries restart" end)

    local function tries()
        return tonumber(server.psql "select last_value from retry_tries")
    end

    it("is tried retry.attempts times, and says how often", function()
        local db = open { attempts = 4 }
        assert.equal(4, db:value "select retry_fails(4)")
        assert.equal(3, db:stats().retries)
        local err = fails(db:query "select retry_fails(100)")
        assert.equal(4, err.attempts)
        assert.equal(8, tries())
    end)

    it("is tried as often as the call says", function()
        local db = open { attempts = 4 }
        assert.equal(1, fails(db:query { "select retry_fails(100)", retry = false }).attempts)
        assert.equal(2, fails(db:query { "select retry_fails(100)", retry = { attempts = 2 } }).attempts)
        assert.equal(6, fails(db:query { "select retry_fails(100)", retry = { attempts = 6, max_ms = 1 } }).attempts)
        assert.equal(4, fails(db:query { "select retry_fails(100)", retry = { base_ms = 1 } }).attempts)
    end)

    it("waits as long as the call says, and never past its deadline", function()
        local db = open { attempts = 2 }
        local began = server.now()
        fails(db:query { "select retry_fails(100)", retry = { base_ms = 60, max_ms = 60 } })
        assert.is_true(server.now() - began >= 30)
        began = server.now()
        fails(db:query { "select retry_fails(100)", retry = { base_ms = 60000, max_ms = 60000 }, timeout_ms = 5000 })
        assert.is_true(server.now() - began < 4000)
    end)

    it("is none that commits on its way, as a procedure does", function()
        server.psql [[create table retry_kept (id int);
            create procedure retry_commits() language plpgsql as $$ begin
                insert into retry_kept values (1); commit; perform retry_fails(1000000); end $$]]
        local db = open { attempts = 3 }
        local block = "do $$ begin insert into retry_kept values (2); commit; perform retry_fails(1000000); end $$"
        for _, sql in ipairs { "call retry_commits()", " /* a */ CALL retry_commits()", block } do
            assert.equal(1, fails(db:query(sql)).attempts)
            assert.equal(1, fails(db:with(function(conn) return conn:query(sql) end)).attempts)
        end
        assert.equal(6, tries())
        assert.equal("4 2", server.psql "select sum((id = 1)::int) || ' ' || sum((id = 2)::int) from retry_kept")
        assert.equal(3, fails(db:query { block, idempotent = true }).attempts)
        server.psql "drop procedure retry_commits(); drop table retry_kept"
    end)

    it("takes no options that are none", function()
        local db = open()
        for _, wrong in ipairs { true, 3, { tries = 3 }, { attempts = 0 }, { attempts = "2" }, { 3 } } do
            assert.has_error(function() db:query { "select 1", retry = wrong } end)
        end
        for _, wrong in ipairs { 3, { tries = 3 }, { attempts = 0 } } do
            assert.has_error(function() db:transaction(print, { retry = wrong }) end)
        end
    end)

    it("as a transaction is tried as often as that says", function()
        local db = open()
        local function block(tx) return tx:value "select retry_fails(3)" end
        assert.equal(1, fails(db:transaction(block)).attempts)
        assert.equal(3, (db:transaction(block, { retry = { attempts = 3, base_ms = 1, max_ms = 1 } })))
    end)

    it("as a transaction does not wait for a repetition that would come after its deadline", function()
        local db = open()
        local began = server.now()
        local err = fails(db:transaction(function(tx) return tx:value "select retry_fails(100)" end,
            { retry = { attempts = 3, base_ms = 60000, max_ms = 60000 }, deadline_ms = 5000 }))
        assert.is_true(server.now() - began < 4000)
        assert.equal(1, err.attempts)
        assert.equal(0, db:stats().retries)
    end)

    it("as a transaction does not wait again for a connection that could not be had", function()
        server.psql "drop role if exists retry_few; create role retry_few login connection limit 1"
        local dbs = {}
        for i = 1, 2 do
            dbs[i] = closing(assert(tidepool.open {
                url = server.url { user = "retry_few" }, pool = { min = 0, max = 1, acquire_timeout_ms = 800 },
                log = { queries = false }, breaker = { failures = 0 },
            }))
        end
        local held = assert(dbs[1]:acquire())
        local began = server.now()
        local result, err = dbs[2]:transaction(function() end, { retries = 10 })
        assert.is_nil(result)
        assert.equal("53300", err.code, tostring(err))
        assert.is_true(server.now() - began < 2400)
        assert.equal(0, dbs[2]:stats().retries)
        held:release()
        for _, db in ipairs(dbs) do db:close() end
        server.psql "drop role retry_few"
    end)

    it("is repeated within retry.budget, and told that it was not", function()
        local told = 0
        local db = open { attempts = 3, budget = 0 }
        db:on("retry", function() told = told + 1 end)
        local refused
        for _ = 1, 60 do
            local err = fails(db:query "select retry_fails(1000000)")
            refused = refused or err.attempts == 1 and err
        end
        assert.equal(100, db:stats().retries) -- the reserve
        assert.equal(10, db:stats().retries_refused)
        assert.equal("not repeated: retry.budget is used up", refused.hint)
        assert.equal(100, told)
        assert.equal(160, tries())
        fails(db:transaction(function(tx) return tx:query "select retry_fails(1000000)" end, { retries = 5 }))
        assert.equal(161, tries())
    end)

    it("is earned by those that need no repetition", function()
        local db = open { attempts = 2, budget = 50 }
        for _ = 1, 100 do
            fails(db:query "select retry_fails(1000000)")
        end
        local before = db:stats().retries
        for _ = 1, 20 do assert.equal(1, db:value "select 1") end
        for _ = 1, 20 do fails(db:query "select retry_fails(1000000)") end
        assert.is_true(db:stats().retries - before >= 10)
        local free = open { attempts = 2, budget = 100 }
        for _ = 1, 150 do fails(free:query "select retry_fails(1000000)") end
        assert.equal(150, free:stats().retries)
    end)
end)
