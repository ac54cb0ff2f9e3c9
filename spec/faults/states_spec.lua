--- What a server says no with: too many connections, recovery, read-only after a failover, timeouts of its own, a full
--- disk, a login that is refused.
-- Only Lua 5.4: what waits, gives up and repeats is the core.
-- Alone: how soon all is well again depends on who else is busy.
local lab = require "spec.faults.lab"
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local servers = require "spec.support.servers"
local tidepool = require "tidepool"
local expect = require "spec.support.expect"

local fails, takes = expect.fails, expect.takes
local ends_at = lab.ends_at

local small

lazy_setup(function()
    small = servers.start {
        max_connections = 6, superuser_reserved_connections = 0, wal_level = "replica", max_wal_senders = 2,
    }
    small:psql "create table kept (id int)"
end)

lazy_teardown(function() small:stop() end)

loops.each(function(loop)
    it("a server with too many connections (53300): those there are serve all, and no others are asked for in a hurry",
        function()
            local db = loop.open { url = small:url(), pool = { min = 0, max = 20 }, retry = { base_ms = 100 } }
            local tasks = {}
            for i = 1, 60 do
                tasks[i] = function() assert.equal(i, assert(db:value("select $1::int from pg_sleep(0.01)", i))) end
            end
            loop.run(table.unpack(tasks))
            local stats = db:stats()
            assert.is_true(stats.created >= 1 and stats.created <= 6, tostring(stats.created))
            local failures = stats.connect_failures
            assert.is_true(failures >= 1 and failures <= 20, tostring(failures))
            assert.equal("53300", db:state().last_error.code)
            assert.equal(60, stats.queries)
            assert.equal(0, stats.query_failures)
        end)

    for _, refusal in ipairs {
        { "28000", { user = "lab_nologin" } }, { "3D000", { database = "no such database" } },
        { "28P01", { user = "lab_login", password = "wrong", tcp = true } },
    } do
        it(("a login that is refused (%s) is told to all who wait at once, in few attempts"):format(refusal[1]),
            function()
                server.psql "drop role if exists lab_nologin; drop role if exists lab_login"
                server.psql "create role lab_nologin nologin; create role lab_login login password 'right'"
                local db = loop.open {
                    url = server.url(refusal[2]), pool = { min = 0, max = 4, acquire_timeout_ms = 3000 },
                }
                local told = {}
                local tasks = {}
                for i = 1, 40 do
                    tasks[i] = function()
                        local err = fails("connection", db:value "select 1")
                        assert.equal(refusal[1], err.code)
                        told[i] = server.now()
                    end
                end
                local began = server.now()
                loop.run(table.unpack(tasks))
                table.sort(told)
                assert.is_true(told[#told] - began < 1000 + lab.LATE_MS, ("%.0f ms"):format(told[#told] - began))
                assert.is_true(db:stats().connect_failures <= 8, tostring(db:stats().connect_failures))
                server.psql "drop role lab_nologin; drop role lab_login"
            end)
    end
end, { "cqueues" })

describe("a timeout of the server's own", function()
    it("for statements (57014) is an error of that statement, and its connection is kept", function()
        local db <close> = lab.open { statement_timeout_ms = 50, pool = { min = 0, max = 1 } }
        local pid = db:value "select pg_backend_pid()"
        local err = takes(45, 50 + lab.LATE_MS, function()
            return fails("database", db:query "select pg_sleep(5)")
        end)
        assert.equal("57014", err.code)
        assert.equal(1, err.attempts)
        assert.equal(pid, db:value "select pg_backend_pid()")
    end)

    it("for locks (55P03) is an error of that statement, and its connection is kept", function()
        local db <close> = lab.open { lock_timeout_ms = 50, pool = { min = 0, max = 2 } }
        local pid = db:value "select pg_backend_pid()"
        local err = db:with(function(holder)
            assert(holder:query "select pg_advisory_lock(170017)")
            return takes(45, 50 + lab.LATE_MS, function()
                return fails("database", db:query "select pg_advisory_lock(170017)")
            end)
        end)
        assert.equal("55P03", err.code)
        assert.is_true(pid == db:value "select pg_backend_pid()" or db:stats().closed.dead == 0)
        assert.equal(0, db:stats().closed.dead)
    end)

    it("for idle sessions (57P05) is not noticed by the pool, and told to a borrower", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open {
                url = server.url { application_name = name, options = "-c idle_session_timeout=60" },
                pool = { min = 0, max = 1 },
            }
            for i = 1, 3 do
                assert.equal(i, db:value("select $1::int", i))
                server.sleep(90)
            end
            assert.equal(0, db:stats().query_failures)
            local conn = assert(db:acquire())
            assert.equal(4, conn:value "select 4")
            assert.is_true(server.wait(function() return server.backends(name) == 0 end))
            assert.equal("57P05", fails("connection", conn:query "select 5").code)
            conn:release()
            assert.equal(6, db:value "select 6")
        end)
    end)

    it("for idle transactions (25P03) costs the connection, and has the block run again when asked", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open {
                url = server.url { application_name = name }, idle_in_transaction_timeout_ms = 60,
                pool = { min = 0, max = 1 },
            }
            for retries = 0, 1 do
                local runs = 0
                local result, err = db:transaction(function(tx)
                    runs = runs + 1
                    assert(tx:query "select 1")
                    if runs == 1 then
                        assert.is_true(server.wait(function() return server.backends(name) == 0 end))
                    end
                    return tx:value "select 7"
                end, { retries = retries })
                assert.equal(1 + retries, runs)
                assert.equal(retries == 1 and 7 or nil, result)
                if err then assert.equal("25P03", fails("connection", nil, err).code) end
            end
            assert.equal(2, db:stats().closed.dead)
        end)
    end)

    it("for idle transactions is a minute where nobody says otherwise, and the options beat that", function()
        local text = "select current_setting('idle_in_transaction_session_timeout')"
        for setting, options in pairs {
            ["1min"] = {}, ["5s"] = { options = "-c idle_in_transaction_session_timeout=5s" },
            ["2s"] = { options = "-c idle_in_transaction_session_timeout=5s", idle_in_transaction_timeout_ms = 2000 },
            ["0"] = { idle_in_transaction_timeout_ms = 0 },
        } do
            local db <close> = lab.open(options)
            assert.equal(setting, db:value(text))
        end
    end)
end)

describe("a full disk (53100)", function()
    it("is an error of the statement that finds it; its connection is kept, and so is what fits", function()
        local db <close> = lab.open { url = small:url(), pool = { min = 0, max = 1 } }
        assert(db:script "create table fits (id int); create table full_disk (id int)")
        local path = small.pgdata .. "/" .. assert(db:value "select pg_relation_filepath('full_disk')")
        local output, code = server.sh(("rm '%s' && ln -s /dev/full '%s'"):format(path, path))
        assert.equal(0, code, output)
        db:with(function(conn) conn:discard() end) -- the session has the file open
        local pid = assert(db:value "select pg_backend_pid()")
        local err = fails("database", db:exec "insert into full_disk values (1)")
        assert.equal("53100", err.code)
        assert.equal("disk_full", err.name)
        assert.equal(1, err.attempts)
        assert.equal("INSERT", assert(db:exec "insert into fits values (1)").command)
        assert.equal(pid, db:value "select pg_backend_pid()")
        assert(db:exec "drop table full_disk")
    end)
end)

describe("a session that became read-only (25006)", function()
    local function refused(...)
        return assert.equal("25006", fails("database", ...).code)
    end

    it("is closed after a transaction that was to write, and kept after one that was not", function()
        local db <close> = lab.open { pool = { min = 0, max = 1 } }
        local pid = db:value "select pg_backend_pid()"
        local function write(tx) return tx:exec "create table never (i int)" end
        refused(db:transaction(write, { read_only = true }))
        assert.equal(pid, db:value "select pg_backend_pid()")
        server.psql "alter system set default_transaction_read_only = on"
        server.psql "select pg_reload_conf()"
        local ok, failure = pcall(function()
            assert.is_true(server.wait(function() return db:value "show default_transaction_read_only" == "on" end))
            refused(db:transaction(write))
            assert.not_equal(pid, db:value "select pg_backend_pid()")
        end)
        server.psql "alter system reset default_transaction_read_only"
        server.psql "select pg_reload_conf()"
        assert(ok, failure)
        assert.is_true(server.wait(function() return db:value "show default_transaction_read_only" == "off" end))
    end)
end)

describe("a standby", function()
    local standby

    lazy_setup(function()
        standby = small:standby {
            max_connections = 6, superuser_reserved_connections = 0, wal_level = "replica", max_wal_senders = 2,
            hot_standby = "off",
        }
    end)

    lazy_teardown(function() standby:stop() end)

    it("that is in recovery (57P03) is asked again until the deadline", function()
        local db <close> = lab.open { url = standby:url(), retry = { base_ms = 10 } }
        local err = ends_at(300, function() return fails("connection", db:acquire(300)) end)
        assert.equal("57P03", err.code)
        assert.is_true(db:stats().connect_failures > 1)
    end)

    it("that is in recovery says nothing about the connections to another host", function()
        local proxy = require "spec.faults.proxy"
        local link = proxy.start(("%s/.s.PGSQL.%d"):format(small.socket, small.port))
        local db <close> = assert(tidepool.open {
            host = "127.0.0.1," .. standby.socket, port = link.port .. "," .. standby.port, user = server.user,
            database = server.database, password = "none", tls = { mode = "disable" }, log = { queries = false },
            pool = { min = 0, max = 2 }, breaker = { failures = 0 },
        })
        local conn = assert(db:acquire(20000))
        local pid = conn:backend_pid()
        link:refuse()
        local err = fails("pool_timeout", db:acquire(400))
        assert.equal("57P03", db:state().last_error.code, tostring(err))
        conn:release()
        assert.equal(pid, db:value "select pg_backend_pid()")
        link:stop()
    end)

    -- A pool of both, which wants the one that can write.
    local function open_both()
        return assert(tidepool.open {
            host = small.socket .. "," .. standby.socket, port = small.port .. "," .. standby.port, user = server.user,
            database = server.database, password = "none", target_session_attrs = "read-write",
            pool = { min = 0, max = 3, acquire_timeout_ms = 20000 }, log = { queries = false },
        })
    end

    local function port_of(db)
        return tonumber(db:value "show port")
    end

    it("that is promoted when the server before it has died serves those who wait, and nothing is lost", function()
        local db <close> = open_both()
        assert.equal(small.port, port_of(db))
        assert(db:exec "insert into kept values (1)")
        local lsn = small:psql "select pg_current_wal_lsn()"
        assert.is_true(server.wait(function()
            return small:psql(("select count(*) from pg_stat_replication where replay_lsn >= '%s'"):format(lsn)) == "1"
        end))
        small:kill9()
        standby:promote()
        local promoted = server.now()
        assert.equal(1, db:value "select count(*) from kept")
        local served = server.now()
        assert.is_true(served - promoted <= 1000, ("served %.0f ms after it was promoted"):format(served - promoted))
        assert.equal(standby.port, port_of(db))
        assert(db:exec "insert into kept values (2)")
    end)

    it("takes over when the other one only becomes read-only (25006), of which no connection is used again", function()
        small:start_again()
        local db <close> = open_both()
        local conns = {}
        for i = 1, 3 do conns[i] = assert(db:acquire()) end
        for _, conn in ipairs(conns) do
            assert.equal(tostring(small.port), conn:value "show port")
            conn:release()
        end
        small:psql "alter system set default_transaction_read_only = on"
        small:psql "select pg_reload_conf()"
        assert.is_true(server.wait(function() return db:value "show default_transaction_read_only" == "on" end))
        local err = fails("database", db:transaction(function(tx) return tx:exec "insert into kept values (3)" end))
        assert.equal("25006", err.code)
        assert.is_true(server.wait(function() return db:stats().closed.server_gone == 2 end))
        for i = 1, 5 do
            assert.equal("INSERT", assert(db:exec("insert into kept values ($1)", i)).command)
        end
        assert.equal(standby.port, port_of(db))
    end)
end)
