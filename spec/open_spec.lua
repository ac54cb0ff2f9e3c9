--- Where the connection comes from, what a bad option says, and a database that is not there.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

-- A child that opens a pool from what its environment says and prints what it found.
local SHOW = [[
    local tidepool = require "tidepool"
    local lines = {}
    local function sink(level, message)
        lines[#lines + 1] = level .. ": " .. message
    end
    local where = { log = { sink = sink } }
    if arg[1] then where.url = arg[1] end
    local db, err = tidepool.open(where)
    print("configured", tidepool.is_configured(where))
    if not db then
        print("error", err.kind, tostring(err))
        return
    end
    for _, name in ipairs { "host", "port", "database", "user", "password", "pool.min", "pool.max", "profile",
        "pool.idle_timeout_ms", "pool.acquire_timeout_ms", "log.queries", "application_name" } do
        print(name, db:option(name))
    end
    local user, failure = db:value("select current_user")
    print("current_user", user or tostring(failure))
    db:close()
    for _, line in ipairs(lines) do print(line) end
]]

local function show(environment, ...)
    local output, code = child.run(SHOW, environment, { ... })
    assert.equal(0, code, output)
    return output
end

local function assert_has(output, name, value)
    assert.truthy((output .. "\n"):find(name .. "\t" .. value .. "\n", 1, true),
        ("no '%s' of '%s' in:\n%s"):format(name, value, output))
end

local function parts(more)
    local environment = {
        DB_HOST = "127.0.0.1", DB_PORT = server.port, DB_NAME = server.database, DB_USER = server.user,
        DB_PASSWORD = server.password,
    }
    for name, value in pairs(more or {}) do
        environment[name] = value
    end
    return environment
end

local function quiet(options)
    local where = { log = { queries = false } }
    for name, value in pairs(options) do
        where[name] = value
    end
    return where
end

local function refused(where)
    local db, err = tidepool.open(where)
    assert.is_nil(db)
    assert.equal("validation", err.kind)
    return err.message
end

describe("opening from code", function()
    it("takes a URL", function()
        local db = closing(assert(tidepool.open(server.url { pool_min = 0, application_name = "from a url" })))
        assert.equal("from a url", db:option "application_name")
        assert.equal("0", db:option "pool.min")
    end)

    it("takes a table with a URL and options, which beat the URL's parameters", function()
        local db = closing(assert(tidepool.open(quiet {
            url = server.url { pool_max = 7, pool_min = 1 }, pool = { max = 3 },
        })))
        assert.equal("3", db:option "pool.max")
        assert.equal("1", db:option "pool.min")
        assert.equal(1, db:value("select 1"))
    end)

    it("takes the parts of a URL as options", function()
        local db = closing(assert(tidepool.open(quiet {
            host = server.socket, port = server.port, database = server.database, user = server.user,
        })))
        assert.equal(server.database, db:value("select current_database()"))
    end)

    it("never waits, not even for a host that does not answer", function()
        local began = server.now()
        local db = closing(assert(tidepool.open(quiet { url = "postgresql://u@192.0.2.1/db" })))
        assert.is_true(server.now() - began < 1000)
        assert.equal("starting", db:state().state)
    end)

    it("raises an error for what is neither a URL nor a table", function()
        assert.has_error(function() tidepool.open(5) end)
        assert.has_error(function() tidepool.open(true) end)
    end)

    it("says how it is called when it is called with a colon, and that a URL has a name in a table", function()
        assert.error_matches(function() tidepool:open() end, "tidepool.open%(...%)")
        assert.error_matches(function() tidepool.open { "postgresql://h/x" } end, 'url = "postgresql://')
    end)

    it("raises an error for an option of a type that no option has", function()
        assert.error_matches(function() tidepool.open { host = print } end, "option 'host' cannot be a function")
        assert.error_matches(function() tidepool.open { [1] = "x" } end, "options have names")
        assert.error_matches(function() tidepool.open { log = { sink = 5 } } end, "'log.sink' must be a function")
    end)

    it("raises an error for a table within an option, also for one that contains itself", function()
        local cyclic = { max = 3 }
        cyclic.more = cyclic
        assert.error_matches(function() tidepool.open { pool = cyclic } end, "option 'pool.more' cannot be a table")
    end)

    it("leaves the table that it was given as it was", function()
        local sink = function() end
        local where = { url = server.url(), log = { sink = sink, queries = false }, pool = { max = 1 } }
        local db = closing(assert(tidepool.open(where)))
        assert.equal(server.url(), where.url)
        assert.equal(sink, where.log.sink)
        assert.same({ max = 1 }, where.pool)
        assert.equal("1", db:option "pool.max")
    end)

    it("tells whether something says where the server is", function()
        assert.is_true(tidepool.is_configured(server.url()))
        assert.is_true(tidepool.is_configured { host = "h", user = "u", database = "d", password = "p" })
    end)

    it("lists its options, each with a sentence", function()
        local count = 0
        for _, option in ipairs(tidepool.options()) do
            count = count + 1
            assert.truthy(option.doc:find("%.$"), option.name)
        end
        assert.is_true(count > 30)
    end)
end)

describe("a bad option", function()
    it("is refused with the name that was meant", function()
        assert.truthy(refused { pool = { maks = 3 } }:find('"pool.maks": did you mean "pool.max"?', 1, true))
        assert.truthy(refused { passwort = "x" }:find('did you mean "password"?', 1, true))
        assert.truthy(refused(server.url { sslmod = "require" }):find('did you mean "sslmode"?', 1, true))
    end)

    it("is refused with its name when it is no number", function()
        assert.truthy(refused { url = server.url(), pool = { max = "abc" } }:find("pool.max must be a whole number"))
        assert.truthy(refused { url = server.url(), pool = { max = 1.5 } }:find("pool.max must be a whole number"))
        assert.truthy(refused { url = server.url(), pool = { max = 0 } }:find("pool.max must be a whole number"))
        assert.truthy(refused(server.url { pool_max = "x" }):find("pool_max in the URL must be a whole number"))
    end)

    it("is refused when min is greater than max", function()
        assert.truthy(refused { url = server.url(), pool = { min = 3, max = 2 } }
            :find("pool.min (3) is greater than pool.max (2)", 1, true))
    end)

    it("is refused when the URL is not PostgreSQL's", function()
        for _, url in ipairs { "mysql://u:topsecret@h/db", "", "h/db", "host=h password=topsecret", "http://" } do
            assert.truthy(refused(url):find("must begin with postgresql:// or postgres://", 1, true), url)
        end
    end)

    it("never shows a secret, whatever is wrong with the URL", function()
        local urls = {
            "postgresql://u:topsecret@h:port/db", "postgresql://u:topsecret%zz@h/db", "mysql://u:topsecret@h/db",
            "postgresql://u:topsecret@h/db?password=topsecret&foo=topsecret", "postgresql://u:topsecret@h:99999/db",
            "postgresql://u:top@secret@h/db", "postgresql://u:topsecret@h/db?sslmode=topsecret",
            "postgresql://u:x/topsecret@h/db", "postgresql://u:x?topsecret@h/db",
        }
        for _, url in ipairs(urls) do
            local db, err = tidepool.open(url)
            assert.is_nil(tostring(db and db:option("host")):find("secret", 1, true), url)
            if err then
                for _, value in pairs(err) do
                    assert.is_nil(tostring(value):find("secret", 1, true), url .. " gives " .. tostring(value))
                end
            end
        end
    end)
end)

describe("opening from the environment", function()
    it("takes DATABASE_URL", function()
        local output = show { DATABASE_URL = server.url { application_name = "by variable" } }
        assert_has(output, "configured", "true")
        assert_has(output, "application_name", "by variable")
        assert_has(output, "current_user", server.user)
    end)

    it("prefers DB_CONNECTION_STRING to DATABASE_URL, and that to parts", function()
        local output = show {
            DB_CONNECTION_STRING = server.url { application_name = "first" },
            DATABASE_URL = server.url { application_name = "second" }, DB_HOST = "nowhere.invalid",
        }
        assert_has(output, "application_name", "first")
        assert_has(output, "current_user", server.user)
        output = show { DATABASE_URL = server.url { application_name = "second" }, DB_HOST = "nowhere.invalid" }
        assert_has(output, "application_name", "second")
        assert_has(output, "current_user", server.user)
    end)

    it("takes parts", function()
        local output = show(parts())
        assert_has(output, "configured", "true")
        assert_has(output, "current_user", server.user)
        assert_has(output, "password", "***")
    end)

    it("takes the second name of a part", function()
        local output = show(parts {
            DB_NAME = "", DB_DATABASE = server.database, DB_USER = "", DB_USERNAME = server.user,
        })
        assert_has(output, "current_user", server.user)
    end)

    it("takes the first of two names that differ, and warns", function()
        local output = show(parts { DB_DATABASE = "other" })
        assert_has(output, "database", server.database)
        assert.truthy(output:find("warning: [^\n]*DB_NAME[^\n]*DB_DATABASE"), output)
    end)

    it("takes libpq's own variables last", function()
        local environment = {
            PGHOST = server.socket, PGPORT = server.port, PGUSER = server.user, PGDATABASE = server.database,
        }
        assert_has(show(environment), "current_user", server.user)
        environment.DB_HOST = "127.0.0.1"
        environment.DB_PASSWORD = server.password
        assert_has(show(environment), "host", "127.0.0.1")
    end)

    it("is beaten by a URL in code", function()
        local environment = {
            DATABASE_URL = "postgresql://other@elsewhere.invalid/db", DB_POOL_MAX = "4", DB_POOL_MIN = "1",
        }
        local output = show(environment, server.url { pool_max = 5 })
        assert_has(output, "current_user", server.user)
        assert_has(output, "pool.max", "5")
        assert_has(output, "pool.min", "1")
    end)

    it("has the defaults of its profile", function()
        local output = show { DATABASE_URL = server.url(), APP_ENV = "production" }
        assert_has(output, "pool.max", "20")
        assert_has(output, "pool.min", "5")
        assert_has(output, "pool.idle_timeout_ms", "30000")
        assert_has(output, "log.queries", "false")
        output = show { DATABASE_URL = server.url(), NODE_ENV = "test" }
        assert_has(output, "pool.max", "10")
        assert_has(output, "pool.min", "2")
        assert_has(output, "log.queries", "true")
    end)

    it("is refused with the variable's name when a value is bad", function()
        local output = show { DATABASE_URL = server.url(), DB_POOL_MAX = "abc" }
        assert.truthy(output:find("validation error: DB_POOL_MAX must be a whole number", 1, true), output)
        output = show { DATABASE_URL = server.url(), DB_POOL_MAX = "2", DB_POOL_MIN = "3" }
        assert.truthy(output:find("DB_POOL_MIN (3) is greater than DB_POOL_MAX (2)", 1, true), output)
        output = show { DATABASE_URL = "mysql://u:topsecret@h/db" }
        assert.truthy(output:find("DATABASE_URL must begin with postgresql://", 1, true), output)
        assert.is_nil(output:find("topsecret", 1, true))
    end)

    it("is not configured by a placeholder", function()
        for _, environment in ipairs {
            { DATABASE_URL = "postgresql://your_user:your_password@localhost/your_db" },
            { DB_HOST = "your_host", DB_NAME = "app", DB_USER = "app", DB_PASSWORD = "x" },
        } do
            local output = show(environment)
            assert_has(output, "configured", "false")
            assert.truthy(output:find("current_user\tnot_configured error"), output)
        end
    end)

    it("is not configured by parts over TCP with an empty password", function()
        local output = show(parts { DB_PASSWORD = "" })
        assert.truthy(output:find("configured\tfalse") or output:find("error\tvalidation"), output)
        assert.is_nil(output:find("current_user\t" .. server.user, 1, true))
    end)
end)

describe("a database that is not configured", function()
    local PROGRAM = [[
        local tidepool = require "tidepool"
        local lines = {}
        local db = assert(tidepool.open { log = { sink = function(level, message)
            lines[#lines + 1] = level .. ": " .. message
        end } })
        print("lines", #lines, lines[1])
        print("state", db:state().state, db:is_connected(), db:is_configured(), tidepool.is_configured())
        local began = require("tidepool.core").now()
        local function kind(ok, err) return tostring(ok), err.kind end
        print("query", kind(db:query("select 1")))
        print("one", kind(db:one("select 1")))
        print("value", kind(db:value("select 1")))
        print("exec", kind(db:exec("select 1")))
        print("script", kind(db:script("select 1")))
        print("acquire", kind(db:acquire()))
        print("with", kind(db:with(print)))
        print("transaction", kind(db:transaction(print)))
        print("ping", kind(db:ping()))
        print("wait_ready", kind(db:wait_ready(2000)))
        print("listen", kind(db:listen("a")))
        print("fast", require("tidepool.core").now() - began < 1500)
        print("drain", db:drain(100))
        db:close()
    ]]

    it("opens, says so in one line of the log, and fails every call at once", function()
        local output, code = child.run(PROGRAM)
        assert.equal(0, code, output)
        assert.truthy(output:find("lines\t1\twarning: the database is not configured", 1, true), output)
        assert_has(output, "state", "unconfigured\tfalse\tfalse\tfalse")
        for _, call in ipairs {
            "query", "one", "value", "exec", "script", "acquire", "with", "transaction", "wait_ready", "listen",
        } do
            assert_has(output, call, "nil\tnot_configured")
        end
        assert_has(output, "ping", "false\tnot_configured")
        assert_has(output, "fast", "true")
        assert_has(output, "drain", "true")
    end)
end)

describe("a server that is away", function()
    local closed_port = "postgresql://u:topsecret@127.0.0.1:1/db"

    local function assert_waits(ms, fn)
        local began = server.now()
        fn()
        local took = server.now() - began
        assert.is_true(took >= ms, ("gave up %.1f ms early"):format(ms - took))
        assert.is_true(took < ms + 1500, ("%.1f ms late"):format(took - ms))
    end

    it("lets a call wait until the acquire timeout, then fails it with the reason", function()
        local db = closing(assert(tidepool.open(quiet { url = closed_port, pool = { acquire_timeout_ms = 150 } })))
        assert_waits(150, function()
            local rows, err = db:query("select 1")
            assert.is_nil(rows)
            assert.equal("connection", err.kind)
            assert.is_true(err.retryable)
            assert.truthy(err.message:find("Connection refused", 1, true), err.message)
            assert.is_true(err.attempts > 0)
            assert.is_nil(tostring(err):find("topsecret", 1, true))
        end)
    end)

    it("lets a call wait no longer than its own deadline", function()
        local db = closing(assert(tidepool.open(quiet { url = closed_port, breaker = { failures = 0 } })))
        assert_waits(60, function() assert.is_nil((db:query { "select 1", timeout_ms = 60 })) end)
        assert_waits(60, function() assert.is_nil((db:acquire(60))) end)
        assert_waits(60, function() assert.is_false((db:ping(60))) end)
        assert_waits(60, function() assert.is_nil((db:wait_ready(60))) end)
        assert_waits(60, function() assert.is_nil((db:transaction(print, { timeout_ms = 60 }))) end)
    end)

    it("shows in the state, with the last error and how many there were", function()
        local db = closing(assert(tidepool.open(quiet { url = closed_port })))
        assert.equal("starting", db:state().state)
        assert.is_nil(db:state().last_error)
        assert.is_nil((db:wait_ready(50)))
        local state = db:state()
        assert.equal("unreachable", state.state)
        assert.is_false(state.is_connected)
        assert.is_false(db:is_connected())
        assert.is_true(state.error_count >= 1)
        assert.equal("connection", state.last_error.kind)
    end)

    it("is found by the next call when it is back, without any restart", function()
        local db = closing(assert(tidepool.open(quiet { url = server.url(), pool = { acquire_timeout_ms = 3000 } })))
        server.stop_fast()
        local value, err = db:value { "select 1", timeout_ms = 100 }
        server.start_again()
        assert.is_nil(value)
        assert.equal("connection", err.kind)
        assert.equal(1, db:value("select 1"))
        assert.equal("connected", db:state().state)
        assert.equal(0, db:state().error_count)
    end)

    it("is waited for by wait_ready", function()
        local db = closing(assert(tidepool.open(quiet { url = server.url() })))
        assert.is_true(db:wait_ready(2000))
        assert.is_true(db:is_connected())
        assert.equal(0, db:stats().active_connections)
    end)
end)

describe("a server that refuses", function()
    it("fails a call with a wrong password fast, and again each time", function()
        local url = server.url { tcp = true, password = "not the topsecret" }
        local db = closing(assert(tidepool.open(quiet { url = url })))
        for _ = 1, 2 do
            local began = server.now()
            local value, err = db:value("select 1")
            assert.is_true(server.now() - began < 1500)
            assert.is_nil(value)
            assert.equal("connection", err.kind)
            assert.equal("28P01", err.code)
            assert.equal("invalid_password", err.name)
            assert.is_false(err.retryable and err.attempts == 0)
            assert.is_nil(tostring(err):find("topsecret", 1, true))
        end
    end)

    it("fails a call without a password fast, and says where one can be given", function()
        local url = server.url { tcp = true }:gsub("//([^:]+):[^@]*@", "//%1@")
        local db = closing(assert(tidepool.open(quiet {
            url = url, libpq = { passfile = "/nonexistent" }, pool = { acquire_timeout_ms = 20000 },
        })))
        for _ = 1, 2 do
            local began = server.now()
            local value, err = db:value("select 1")
            assert.is_true(server.now() - began < 10000)
            assert.is_nil(value)
            assert.equal("connection", err.kind)
            assert.is_false(err.retryable)
            assert.truthy(err.message:find("no password supplied", 1, true), err.message)
            assert.truthy(err.hint:find("DB_PASSWORD", 1, true), err.hint)
        end
    end)

    it("fails a call to a database that does not exist fast", function()
        local db = closing(assert(tidepool.open(quiet { url = server.url { database = "no such database" } })))
        local began = server.now()
        local value, err = db:value("select 1")
        assert.is_true(server.now() - began < 1500)
        assert.is_nil(value)
        assert.equal("3D000", err.code)
    end)
end)

describe("a secret", function()
    it("shows in no option, text or log line", function()
        local lines = {}
        local function sink(_, message, fields)
            lines[#lines + 1] = message
            for name, value in pairs(fields) do
                lines[#lines + 1] = name .. tostring(value)
            end
        end
        local db = closing(assert(tidepool.open {
            url = server.url { tcp = true, password = "topsecret" },
            log = { sink = sink, connections = true, queries = true }, pool = { acquire_timeout_ms = 200 },
        }))
        local _, err = db:value("select 1")
        lines[#lines + 1] = tostring(db)
        for _, value in pairs(err) do
            lines[#lines + 1] = tostring(value)
        end
        for _, option in ipairs(tidepool.options()) do
            lines[#lines + 1] = tostring(db:option(option.name))
        end
        assert.is_true(#lines > 40)
        for _, line in ipairs(lines) do
            assert.is_nil(line:find("topsecret", 1, true), line)
        end
        assert.equal("***", db:option "password")
    end)
end)
