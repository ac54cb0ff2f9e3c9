--- What a borrower leaves in the session of its connection is not there for the next one.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local check = portable.assert

local function open(reset, more)
    local options = { url = server.url(), log = { queries = false }, pool = { min = 0, max = 1 }, reset = reset }
    for name, value in pairs(more or {}) do options[name] = value end
    return assert(tidepool.open(options))
end

-- Each kind of state: how it is set, by one statement, and what tells whether it is there ("t" or "f" of the server).
local KINDS = {
    { "a setting", "set statement_timeout = 12345", "select current_setting('statement_timeout') = '12345ms'" },
    { "a setting by function", "select set_config('work_mem', '7MB', false)",
        "select current_setting('work_mem') = '7MB'" },
    { "a setting of the program's own", "select set_config('tenant.id', 'acme', false)",
        "select coalesce(current_setting('tenant.id', true), '') = 'acme'" },
    { "the search_path", "set search_path = pg_catalog, information_schema",
        "select current_setting('search_path') like '%information_schema%'" },
    { "a role", "set role reset_other", "select current_user = 'reset_other'" },
    { "the session's role", "set session authorization reset_other", "select session_user = 'reset_other'" },
    { "a temporary table", "create temp table reset_temp (n int)",
        "select to_regclass('pg_temp.reset_temp') is not null" },
    { "a temporary table of SELECT INTO", "select 1 as n into temp reset_temp",
        "select to_regclass('pg_temp.reset_temp') is not null" },
    { "LISTEN", "listen reset_channel", "select exists (select 1 from pg_listening_channels())" },
    { "an advisory lock", "select pg_advisory_lock(4711)",
        "select exists (select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())" },
    { "a prepared statement", "prepare reset_prepared as select 1",
        [[select exists (select 1 from pg_prepared_statements where name = 'reset_prepared')]] },
    { "a cursor", "declare reset_cursor cursor with hold for select 1",
        "select exists (select 1 from pg_cursors where name = 'reset_cursor')" },
    { "the value of a sequence", "select nextval('reset_sequence')", "select lastval() > 0" },
    { "what a function of the database does", "select reset_function()",
        "select coalesce(current_setting('tenant.id', true), '') = 'of a function'" },
    { "what a block of code does", "do $$ begin perform set_config('tenant.id', 'of a block', false); end $$",
        "select coalesce(current_setting('tenant.id', true), '') = 'of a block'" },
}

-- Ways of borrowing a connection: each executes the statement and gives the connection back.
local WAYS = {
    { "db:query", function(db, sql) check(db:query(sql)) end },
    { "db:script", function(db, sql) check(db:script("select 1; " .. sql)) end },
    { "db:pipeline", function(db, sql) check(db:pipeline(function(p) p:exec(sql) end)) end },
    { "db:transaction", function(db, sql)
        check(db:transaction(function(tx) return check(tx:query(sql)) end))
    end },
    { "db:with", function(db, sql)
        check(db:with(function(conn) return check(conn:query(sql)) end))
    end },
    { "a script of db:with", function(db, sql)
        check(db:with(function(conn) return check(conn:script(sql)) end))
    end },
}

-- Whether the state is there, and the backend that was asked. What has no value at all raises an error.
local function look(db, question)
    local answer = db:with(function(conn)
        return { there = conn:value(question) == true, pid = conn:value "select pg_backend_pid()" }
    end)
    return answer.there, answer.pid
end

-- The last statement of the backend, as the server has it.
local function last_statement(pid)
    return server.psql("select query from pg_stat_activity where pid = " .. pid)
end

-- Whether the session was cleared after `fn`, which is given a database whose only connection is warm.
local function clears(db, fn)
    local pid = check(db:value "select pg_backend_pid()")
    fn()
    assert(server.wait(function() return db:stats().idle_connections == 1 end))
    assert.equal(pid, check(db:value "select pg_backend_pid()"))
    fn()
    assert(server.wait(function() return db:stats().idle_connections == 1 end))
    return last_statement(pid):find("CLOSE ALL", 1, true) ~= nil
end

describe("the session of a connection that comes back", function()
    setup(function()
        server.psql [[create role reset_other]]
        server.psql [[create sequence reset_sequence]]
        server.psql [[create table reset_table (id serial, name text)]]
        server.psql [[create function reset_function() returns text language sql
            as $$ select set_config('tenant.id', 'of a function', false) $$]]
    end)

    teardown(function()
        server.psql "drop function reset_function()"
        server.psql "drop table reset_table"
        server.psql "drop sequence reset_sequence"
        server.psql "drop role reset_other"
    end)

    for _, reset in ipairs { "smart", "always" } do
        describe(("with reset = %q"):format(reset), function()
            local db
            setup(function() db = open(reset) end)
            teardown(function() db:close() end)

            for _, kind in ipairs(KINDS) do
                it("has no longer " .. kind[1], function()
                    local pid = check(db:value "select pg_backend_pid()")
                    for _, way in ipairs(WAYS) do
                        local fits = not (way[1] == "db:pipeline" and kind[2]:find "^do ")
                        if fits then
                            way[2](db, kind[2])
                            local there, now = look(db, kind[3])
                            assert.is_false(there, "left by " .. way[1])
                            assert.equal(pid, now, "it is the same session after " .. way[1])
                        end
                    end
                end)
            end
        end)
    end

    it("has what was left when reset is \"never\"", function()
        for _, kind in ipairs(KINDS) do
            local db = open "never"
            WAYS[1][2](db, kind[2])
            assert.is_true((look(db, kind[3])), kind[1])
            db:close()
        end
    end)

    it("has it when the transaction was left open, too", function()
        local db = open()
        check(db:with(function(conn)
            check(conn:script "set work_mem = '7MB'; begin; listen reset_channel; set lock_timeout = 77")
            return true
        end))
        assert.equal("4MB|0|0", check(db:value [[select concat_ws('|', current_setting('work_mem'),
            current_setting('lock_timeout'), (select count(*) from pg_listening_channels()))]]))
        db:close()
    end)

    it("is not that of another connection when a library was loaded or random() seeded", function()
        local db = open()
        for _, sql in ipairs { "load 'plpgsql'", "select setseed(0.5)", "set seed = 0.5", "set session seed = 0.5" } do
            local pid = check(db:value "select pg_backend_pid()")
            check(db:exec(sql))
            assert.not_equal(pid, check(db:value "select pg_backend_pid()"), sql)
        end
        assert.equal(4, db:stats().closed.in_doubt)
        db:close()
    end)

    it("is discarded when it cannot be cleared", function()
        local db = open("smart", { options = "-c lock_timeout=50" })
        local other = open()
        local pid
        check(db:with(function(conn)
            check(conn:exec "create temp table reset_locked (n int)")
            pid = check(conn:value "select pg_backend_pid()")
            local name = check(conn:value [[select relnamespace::regnamespace::text || '.' || relname
                from pg_class where oid = 'reset_locked'::regclass]])
            local holder = check(other:acquire())
            check(holder:script("begin; lock table " .. name .. " in access share mode"))
            conn:release()
            local now = check(db:value "select pg_backend_pid()")
            assert.not_equal(pid, now)
            holder:release()
            return true
        end))
        db:close()
        other:close()
    end)

    it("has the settings that the connection began with", function()
        server.psql "alter role reset_other login"
        local db = open("smart", {
            application_name = "reset spec", statement_timeout_ms = 4321,
            options = "-c work_mem=9MB -c role=reset_other",
        })
        local text = [[select concat_ws('|', current_setting('application_name'), current_setting('statement_timeout'),
            current_setting('work_mem'), current_user)]]
        local before = check(db:value(text))
        assert.equal("reset spec|4321ms|9MB|reset_other", before)
        check(db:script "set application_name = 'x'; set statement_timeout = 0; set work_mem = '8MB'; reset role")
        assert.equal(before, check(db:value(text)))
        db:close()
    end)

    it("keeps the statements that the pool has prepared", function()
        local db = open()
        check(db:value "select 1 as kept")
        check(db:script "prepare reset_a as select 1; prepare \"Reset; B\" as select 2; set work_mem = '7MB'")
        check(db:value "select 1 as kept")
        assert.equal(1, check(db:value [[select count(*) from pg_prepared_statements
            where statement = 'select 1 as kept']]))
        assert.equal(0, check(db:value "select count(*) from pg_prepared_statements where from_sql"))
        assert.equal(1, db:stats().statement_hits)
        db:close()
    end)

    it("goes on when the borrower has dropped the pool's statements", function()
        local db = open()
        for _, sql in ipairs { "deallocate all", "discard all" } do
            check(db:value "select 2 as dropped")
            check(db:script(sql))
            -- In a transaction nothing is repeated, so this shows that the statement was known to be gone.
            check(db:transaction(function(tx) return check(tx:value "select 2 as dropped") end))
            check(db:exec(sql))
            check(db:transaction(function(tx) return check(tx:value "select 2 as dropped") end))
        end
        db:close()
    end)

    it("is in UTC again for time stamps", function()
        local db = open("smart", { options = "-c timezone=UTC" })
        local text = "select '2026-01-01 12:00:00+00'::timestamptz"
        local before = check(db:value(text))
        check(db:query("select set_config('TimeZone', 'Asia/Tokyo', false)"))
        assert.equal(before, check(db:value(text)))
        check(db:with(function(conn)
            check(conn:script "set timezone = 'Asia/Tokyo'")
            return check(conn:query "select set_config('TimeZone', 'UTC', false)")
        end))
        assert.equal(before, check(db:value(text)))
        db:close()
    end)

    describe("is cleared", function()
        local db
        setup(function() db = open() end)
        teardown(function() db:close() end)

        local cases = {
            [true] = {
                ["by a function that is not known"] = function() check(db:query "select reset_function()") end,
                ["by a quoted function"] = function()
                    check(db:query [[select "set_config"('work_mem', '7MB', true)]])
                end,
                ["by COPY of such a function"] = function()
                    check(db:copy_out("(select reset_function())", function() return true end))
                end,
                ["by a transaction that sets something"] = function()
                    check(db:transaction(function(tx) return check(tx:script "set work_mem = '7MB'") end))
                end,
            },
            [false] = {
                ["by reading"] = function()
                    check(db:query("select count(*), max(lower(name)) from reset_table where id in ($1, $2)", 1, 2))
                end,
                ["by writing"] = function()
                    check(db:exec("insert into reset_table (name) values ($1)", "a"))
                    check(db:exec("update reset_table set name = coalesce($1, 'b')", "c"))
                end,
                ["by a transaction that does not"] = function()
                    check(db:transaction(function(tx)
                        check(tx:script "set local work_mem = '7MB'")
                        return check(tx:query "select now()")
                    end, { isolation = "serializable", read_only = true }))
                end,
                ["by a manual client that does not"] = function()
                    check(db:with(function(conn) return check(conn:query "select 1") end))
                end,
                ["by COPY"] = function()
                    check(db:copy_in("reset_table(name)", { { "x" }, { "y" } }))
                    check(db:copy_out("reset_table", function() return true end))
                end,
                ["by a pipeline that does not"] = function()
                    check(db:query_many("insert into reset_table (name) values ($1)", { { "p" }, { "q" } }))
                end,
            },
        }
        for cleared, list in pairs(cases) do
            for name, fn in pairs(list) do
                it((cleared and "" or "not ") .. name, function()
                    assert.equal(cleared, clears(db, fn))
                end)
            end
        end
    end)
end)
