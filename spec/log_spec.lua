--- The log: what is written, and what is never written.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

-- A database whose log is a list of {level, message, fields}.
local function open(options)
    local lines = {}
    local log = { sink = function(level, message, fields)
        lines[#lines + 1] = { level = level, message = message, fields = fields }
    end }
    for name, value in pairs(options or {}) do
        log[name] = value
    end
    local db = assert(tidepool.open { url = server.url(), log = log, pool = { min = 0, max = 1 } })
    return db, lines
end

describe("the log of queries", function()
    it("has the text, the number of parameters, the duration and a timestamp", function()
        local db, lines = closing(open { queries = true })
        assert.equal(3, db:value("select $1::int + $2::int", 1, 2))
        assert.equal(1, #lines)
        assert.equal("info", lines[1].level)
        assert.equal("query", lines[1].message)
        local fields = lines[1].fields
        assert.equal("select $1::int + $2::int", fields.sql)
        assert.equal(2, fields.parameters)
        assert.truthy(fields.timestamp:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[%.%d]*Z$")
        assert.is_true(tonumber(fields.duration_ms) > 0)
        assert.is_nil(fields.error)
    end)

    it("has the first 200 characters of a long text", function()
        local db, lines = closing(open { queries = true })
        local sql = "select '" .. ("x"):rep(300) .. "'"
        assert.equal(("x"):rep(300), db:value(sql))
        assert.equal(sql:sub(1, 200), lines[1].fields.sql)
    end)

    it("counts characters, not bytes, and cuts none in two", function()
        local db, lines = closing(open { queries = true })
        local sql = "select '" .. ("ü"):rep(300) .. "'"
        assert.equal(("ü"):rep(300), db:value(sql))
        assert.equal("select '" .. ("ü"):rep(192), lines[1].fields.sql)
        assert.equal(200, portable.utf8_len(lines[1].fields.sql))
        assert.equal(1, db:value("select 1 -- " .. ("€"):rep(100)))
        assert.equal("select 1 -- " .. ("€"):rep(100), lines[2].fields.sql, "a text of fewer characters is whole")
    end)

    it("has no end of a text that is no UTF-8", function()
        local db, lines = closing(open { queries = true })
        db:query("select 1 -- " .. ("\128"):rep(100000))
        assert.is_true(#lines[1].fields.sql <= 1000)
    end)

    it("never has the value of a parameter, not even in the error", function()
        local db, lines = closing(open { queries = true })
        assert(db:exec "create table log_spec (name text primary key check (name <> 'topsecret-c'), n int)")
        local cases = {
            { "insert into log_spec values ($1, 1)", "topsecret" },
            { "insert into log_spec values ($1, 1)", "topsecret" },
            { "insert into log_spec values ($1, 1)", "topsecret-c" },
            { "insert into log_spec (n) values ($1::text::int)", "topsecret" },
            { "select $1::int", "topsecret" },
            { "select $1::timestamptz", "topsecret" },
            { "select $1::jsonb", { "topsecret", print } },
            { "do $$ begin raise exception 'oh'; end $$" },
        }
        for _, case in ipairs(cases) do
            db:query(portable.unpack(case))
        end
        assert.equal(#cases + 1, #lines)
        for _, line in ipairs(lines) do
            for name, value in pairs(line.fields) do
                assert.is_nil(tostring(value):find "topsecret[^%-]" or tostring(value):find "topsecret$",
                    name .. " is " .. tostring(value))
            end
        end
        server.psql "drop table log_spec"
        assert.equal("database 23505 (log_spec_pkey)", lines[3].fields.error)
        assert.equal("database 22P02 (invalid_text_representation)", lines[6].fields.error)
    end)

    it("has the error of a call that could not be made", function()
        local lines = {}
        local db = closing(assert(tidepool.open {
            url = "postgresql://u:topsecret@127.0.0.1:1/db", pool = { acquire_timeout_ms = 30 },
            log = { queries = true, sink = function(_, _, fields) lines[#lines + 1] = fields end },
        }))
        assert.is_nil((db:query "select 1"))
        assert.equal("connection", lines[#lines].error)
    end)

    it("is silent when it is off", function()
        local db, lines = closing(open { queries = false })
        assert.equal(1, db:value "select 1")
        assert.equal(0, #lines)
    end)
end)

describe("the log of slow queries", function()
    it("warns of a query that took log.slow_ms, even when queries are not logged", function()
        local db, lines = closing(open { queries = false, slow_ms = 50 })
        assert.equal(1, db:value "select 1")
        assert.equal("", db:value "select pg_sleep(0.06)")
        assert.equal(1, #lines)
        assert.equal("warning", lines[1].level)
        assert.equal("slow query", lines[1].message)
        assert.equal("select pg_sleep(0.06)", lines[1].fields.sql)
        assert.is_true(tonumber(lines[1].fields.duration_ms) >= 60)
    end)

    it("has one line for a slow query, not two", function()
        local db, lines = closing(open { queries = true, slow_ms = 50 })
        assert.equal("", db:value "select pg_sleep(0.06)")
        assert.equal(1, #lines)
        assert.equal("slow query", lines[1].message)
    end)

    it("is off at 0", function()
        local db, lines = closing(open { queries = false, slow_ms = 0 })
        assert.equal("", db:value "select pg_sleep(0.01)")
        assert.equal(0, #lines)
    end)
end)

describe("the last slow queries", function()
    it("have their place in the program, and are bounded", function()
        local db = closing(open { queries = false, slow_ms = 1 })
        assert.same({}, db:slow_queries())
        for i = 1, 105 do
            assert(db:query(("select %d, pg_sleep(0.002)"):format(i)))
        end
        local line = debug.getinfo(1, "l").currentline - 2
        local list = db:slow_queries()
        assert.equal(100, #list)
        assert.equal("select 105, pg_sleep(0.002)", list[1].query)
        assert.equal("select 6, pg_sleep(0.002)", list[100].query)
        assert.truthy(list[1].place:find("log_spec.lua:" .. line, 1, true), list[1].place)
        assert.is_true(list[1].duration_ms >= 2)
        assert.equal(0, list[1].parameters)
        assert.is_true(math.abs(list[1].time - os.time()) < 60)
    end)

    it("have the place also behind with, transaction, each and pipeline", function()
        local db = closing(open { queries = false, slow_ms = 50 })
        local here = debug.getinfo(1, "l").currentline
        db:with(function(conn) conn:query "select pg_sleep(0.06)" end)
        db:transaction(function(tx) return tx:query "select pg_sleep(0.06)" end)
        for _ in db:each "select pg_sleep(0.06)" do end
        db:pipeline(function(p) p:query "select pg_sleep(0.06)" end)
        local places = {}
        for _, entry in ipairs(db:slow_queries()) do
            if entry.query ~= "BEGIN" and entry.query ~= "COMMIT" then table.insert(places, 1, entry.place) end
        end
        for i = 1, 4 do
            assert.truthy(places[i]:find("log_spec.lua:" .. here + i, 1, true), places[i])
        end
    end)
end)

describe("the plan of a slow query", function()
    local function open_explaining(options)
        local lines = {}
        local db = assert(tidepool.open {
            url = server.url(), await = options and options.await, pool = { min = 2, max = 2 },
            log = { queries = false, slow_ms = 100, explain = 100, sink = function(level, message, fields)
                lines[#lines + 1] = { level = level, message = message, fields = fields }
            end },
        })
        assert(db:wait_ready(5000))
        server.wait(function() return db:stats().idle_connections == 2 end, 5000)
        return db, lines
    end

    -- The plan comes between later calls.
    local function plan_of(db)
        server.wait(function()
            db:query "select 1"
            return db:slow_queries()[1].plan
        end, 3000)
        return db:slow_queries()[1].plan
    end

    setup(function()
        server.psql "create table log_spec (id int primary key, name text)"
    end)
    teardown(function() server.psql "drop table log_spec" end)

    it("comes with later calls, and goes into the log", function()
        local db, lines = closing(open_explaining())
        assert(db:query "select pg_sleep(0.11), * from (values (1)) as v")
        assert.equal(1, #lines, "the caller does not wait for it")
        assert.truthy(plan_of(db):find("Result", 1, true), plan_of(db))
        assert.equal("plan of a slow query", lines[2].message)
        assert.equal(plan_of(db), lines[2].fields.plan)
        assert.equal(2, #lines)
        assert.is_nil(db:_state().explaining)
    end)

    it("comes though the next call is long in coming, and what it waits for is no slow query", function()
        local db, lines = closing(open_explaining())
        assert(db:query("select pg_sleep($1)", 0.11))
        server.sleep(1200) -- longer than a plan may take
        assert.is_true(server.wait(function() return #lines > 1 or not db:query "select 1" end, 3000))
        assert.equal("plan of a slow query", lines[2].message)
        assert.equal(lines[2].fields.plan, db:slow_queries()[1].plan)
        assert.same({ 2, 0 }, { #lines, db:stats().query_failures })
    end)

    for _, await in ipairs { "blocking", "default" } do
        it("is that of any parameters, where there are some (" .. await .. ")", function()
            local db = closing(open_explaining { await = await == "blocking" and await or nil })
            assert(db:query("select name from log_spec where id = $1 and pg_sleep($2) is not null", 1, 0))
            assert(db:query("select name from log_spec where id = $1 union select pg_sleep($2)::text", 1, 0.11))
            local plan = plan_of(db)
            assert.truthy(plan:find("$1", 1, true), plan)
        end)
    end

    it("of one that writes executes nothing", function()
        local db = closing(open_explaining())
        assert(db:exec("insert into log_spec select $1, pg_sleep(0.11)::text", 7))
        assert.truthy(plan_of(db):find("Insert on log_spec", 1, true))
        assert.equal(1, db:value "select count(*) from log_spec")
        assert(db:exec "with x as (delete from log_spec returning pg_sleep(0.11)) select * from x")
        assert.truthy(plan_of(db):find("Delete on log_spec", 1, true))
    end)

    it("is not asked for of scripts, of other statements, of failures and with no idle connection", function()
        local db, lines = closing(open_explaining())
        assert(db:script "select pg_sleep(0.11); create table log_spec_script ()")
        assert(db:exec "do $$ begin perform pg_sleep(0.11); end $$")
        assert.is_nil((db:query "select pg_sleep(0.11), 1 / 0 from log_spec_script right join (select 1) x on true"))
        local conn = assert(db:acquire())
        local other = assert(db:acquire())
        assert(conn:query "select pg_sleep(0.11)")
        other:release()
        conn:release()
        for _ = 1, 5 do assert.equal(1, db:value "select 1") end
        assert.is_nil(db:_state().explaining)
        for _, line in ipairs(lines) do assert.equal("slow query", line.message) end
        assert(db:exec "drop table log_spec_script")
    end)

    it("that the server refuses is said to be none", function()
        local db, lines = closing(open_explaining())
        db:with(function(conn)
            assert(conn:exec "create temporary table log_spec_own (id int)")
            assert(conn:query "select pg_sleep(0.11) from log_spec_own right join (select 1) x on true")
        end)
        server.wait(function()
            db:query "select 1"
            return #lines > 1
        end, 3000)
        assert.equal("no plan of a slow query", lines[2].message)
        assert.equal("42P01", lines[2].fields.error)
    end)

    it("does not keep drain and close waiting", function()
        local db, lines = open_explaining()
        assert(db:query "select pg_sleep(0.11)")
        assert.is_truthy(db:_state().explaining)
        assert.is_true(db:drain(1000))
        assert.equal("plan of a slow query", lines[2].message)
        assert.is_truthy(db:slow_queries()[1].plan)
        db:close()
    end)
end)

describe("the log of connections", function()
    it("tells of connections as they come and go", function()
        local db, lines = open { queries = false, connections = true }
        assert.equal(1, db:value "select 1")
        db:close()
        assert.equal(2, #lines)
        assert.equal("connection connect", lines[1].message)
        assert.equal("connection remove", lines[2].message)
        assert.equal("pool_closed", lines[2].fields.reason)
        assert.is_true(lines[1].fields.backend_pid > 0)
    end)

    it("warns of one that came back in an open transaction, also when it is off", function()
        local db, lines = open { queries = false }
        assert(db:exec "begin")
        db:value "select 1"
        assert.same({ level = "warning", message = "a call left a transaction open: begin",
            fields = { event = "rollback" } }, lines[1])
        db:with(function(conn) conn:control "begin" end)
        db:value "select 1"
        assert.equal(2, #lines)
        assert.truthy(lines[2].message:find("log_spec.lua:", 1, true), lines[2].message)
        db:close()
    end)

    it("warns of one that could not be made", function()
        local lines = {}
        local db = closing(assert(tidepool.open {
            url = server.url { database = "no such database" },
            log = { queries = false, connections = true, sink = function(level, message, fields)
                lines[#lines + 1] = { level, message, fields.code }
            end },
        }))
        assert.is_nil((db:acquire(1000)))
        assert.same({ "warning", "connection error", "3D000" }, lines[1])
    end)
end)

describe("a sink", function()
    it("that raises an error loses its line and nothing else", function()
        local db = closing(assert(tidepool.open {
            url = server.url(), log = { queries = true, sink = function() error "full" end },
        }))
        assert.equal(1, db:value "select 1")
    end)

    it("is the standard error when none is given: a line for each entry", function()
        local output, code = child.run([[
            local db = require "tidepool".open { url = arg[1], log = { queries = true } }
            db:value("select 1,\n\t2 as \27[31mred -- $1")
            db:value "select 3"
            db:close()
        ]], {}, { server.url() })
        assert.equal(0, code, output)
        local lines = {}
        for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
        assert.equal(2, #lines, output)
        assert.truthy(lines[1]:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ tidepool info: query duration_ms=", lines[1])
        assert.truthy(lines[1]:find("sql=select 1, 2 as", 1, true), lines[1])
        assert.is_nil(output:find "\27")
    end)

    it("gets the values of parameters when it asks for them, cut and as JSON", function()
        local db, lines = closing(open { queries = true, parameters = true })
        assert(db:query("select $1::text, $2::int, $3::text, $4::bool, $5::json", ("x"):rep(300), 5, nil, true, { 1 }))
        local values = lines[1].fields.values
        assert.equal(("x"):rep(200) .. "...", values[1])
        assert.equal(5, values[2])
        assert.equal(tidepool.null, values[3])
        assert.is_true(values[4])
        assert.equal("table", values[5])
        assert.equal(5, #values)
    end)

    it("can be the standard error with a JSON object in each line, whatever bytes there are", function()
        local output, code = child.run([[
            local db = require "tidepool".open { url = arg[1], log = { queries = true, format = "json",
                parameters = true, slow_ms = 100 } }
            local awkward = "a\"b\\c\n\t\1\127\200\255\237\160\128\192\175é€😀/"
            db:query("select 1 -- " .. awkward)
            db:query("select $1::text, $2::int, $3::text", "a\nb", 5, nil)
            db:query "select pg_sleep(0.11)"
            db:close()
        ]], {}, { server.url() })
        assert.equal(0, code, output)
        local db = closing(assert(tidepool.open { url = server.url(), log = { queries = false } }))
        local lines = {}
        for line in output:gmatch "[^\n]+" do
            lines[#lines + 1] = assert(db:value("select $1::text::json", line))
        end
        assert.equal(3, #lines, output)
        assert.equal("query", lines[1].message)
        assert.equal("info", lines[1].level)
        local none = "\239\191\189"
        assert.equal('select 1 -- a"b\\c\n\t\1\127' .. none:rep(7) .. "é€😀/", lines[1].sql)
        assert.equal("number", type(lines[1].duration_ms))
        assert.same({ "a\nb", 5, tidepool.null }, lines[2].values)
        assert.equal("warning", lines[3].level)
        assert.equal(0, lines[3].parameters)
    end)

    it("has each name once in a JSON object, also of connections", function()
        local output = child.run([[
            local db = require "tidepool".open { url = arg[1], log = { queries = false, format = "json",
                connections = true } }
            db:query "select 1"
            db:close()
        ]], {}, { server.url() })
        local reason = output:match('^{"time":"[^"]*","level":"info","message":"connection connect",'
            .. '"backend_pid":%d+,"reason":"([^"]*)"}\n')
        assert.equal("connected", reason, output)
    end)

    it("has to be a function or a name that there is", function()
        local _, err = tidepool.open { log = { sink = "syslog" } }
        assert.equal("validation", err.kind)
        assert.error_matches(function() tidepool.open { log = { sink = 5 } } end, "log.sink")
    end)

    it("is silent under the production profile for queries that are well", function()
        local output = child.run([[
            local db = require "tidepool".open(arg[1])
            print(db:value "select 1")
            db:close()
        ]], { APP_ENV = "production" }, { server.url { sslmode = "disable" } })
        assert.equal("1\n", output)
    end)
end)
