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

describe("the log of connections", function()
    it("tells of connections as they come and go", function()
        local db, lines = open { queries = false, connections = true }
        assert.equal(1, db:value "select 1")
        db:close()
        assert.equal(2, #lines)
        assert.equal("connection connect", lines[1].message)
        assert.equal("connection remove", lines[2].message)
        assert.equal("pool_closed", lines[2].fields.message)
        assert.is_true(lines[1].fields.backend_pid > 0)
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

    it("is silent under the production profile for queries that are well", function()
        local output = child.run([[
            local db = require "tidepool".open(arg[1])
            print(db:value "select 1")
            db:close()
        ]], { APP_ENV = "production" }, { server.url { sslmode = "disable" } })
        assert.equal("1\n", output)
    end)
end)
