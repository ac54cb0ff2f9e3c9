--- Passwords that the program makes: who is asked, how often, what comes of each answer, and that nobody waits for
-- one longer than they said.
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local tidepool = require "tidepool"
local fails = require("spec.support.expect").fails

-- The password of the URL is a wrong one: it is not used.
local url = server.url { tcp = true, password = "of-the-url" }

loops.each(function(loop)
    -- A database whose passwords `make` makes; by default the right one. Returns it and a table with what `make` was
    -- given, call by call.
    local function open(make, options)
        local asked = {}
        options = options or {}
        options.url = url
        options.password = function(where)
            asked[#asked + 1] = where
            if make then
                return make(#asked)
            end
            return server.password
        end
        return loop.open(options), asked
    end

    it("a password is asked for with each new connection, and told what for", loop.tasks(function()
        local db, asked = open(nil, { pool = { min = 0, max = 2 } })
        assert.equal(0, #asked)
        assert.equal(1, db:value "select 1")
        assert.equal(1, db:value "select 1")
        assert.equal(1, #asked)
        assert.same({ host = "127.0.0.1", port = server.port, user = server.user, database = server.database },
            asked[1])
        local one, two = assert(db:acquire()), assert(db:acquire())
        assert.equal(2, #asked)
        one:discard()
        two:release()
        one, two = assert(db:acquire()), assert(db:acquire())
        assert.equal(3, #asked)
        one:release()
        two:release()
    end))

    it("a password that was rotated is used from then on", function()
        local role = "rotated_" .. loop.name
        server.psql(("drop role if exists %s; create role %s login password 'first'"):format(role, role))
        local now = "first"
        local db = loop.open {
            url = server.url { tcp = true, user = role, password = "x" }, pool = { min = 0, max = 1 },
            password = function() return now end,
        }
        loop.run(function()
            assert.equal(role, db:value "select current_user")
            server.psql(("alter role %s password 'second'"):format(role))
            now = "second"
            local conn = assert(db:acquire())
            conn:discard()
            assert.equal(role, db:value "select current_user")
        end)
    end)

    it("a wrong password fails whoever waits, and the next one may be right", loop.tasks(function()
        local db, asked = open(function(n) return n == 1 and "wrong" or server.password end)
        local err = fails("connection", db:query "select 1")
        assert.equal("28P01", err.code)
        assert.equal(1, db:value "select 1")
        assert.equal(2, #asked)
    end))

    it("an error that is raised fails whoever waits", loop.tasks(function()
        local db = open(function() error("the vault has moved", 0) end)
        local began = server.now()
        local err = fails("connection", db:query "select 1")
        assert.is_true(server.now() - began < 2000)
        assert.truthy(err.message:find("the password function raised: the vault has moved", 1, true), err.message)
    end))

    it("what is no password fails whoever waits", loop.tasks(function()
        for _, none in ipairs { 42, "", "a\0b", false } do
            local db = open(function() return none end)
            local err = fails("connection", db:query "select 1")
            assert.truthy(err.message:find("the password function returned", 1, true), err.message)
            assert.is_nil(err.message:find("42", 1, true))
        end
        local db = open(function() return nil end)
        fails("connection", db:query "select 1")
    end))

    it("nil and a reason is tried again, as any failure to connect is", loop.tasks(function()
        local db, asked = open(function(n)
            if n < 3 then
                return nil, "the token service is\naway"
            end
            return server.password
        end, { retry = { base_ms = 1, max_ms = 5 } })
        assert.equal(1, db:value "select 1")
        assert.equal(3, #asked)
        db = open(function() return nil, { message = "the token service is\naway" } end,
            { retry = { base_ms = 1, max_ms = 5 } })
        local result, err = db:query { "select 1", timeout_ms = 100 }
        assert.is_nil(result)
        assert.truthy(tostring(err):find("the token service is away", 1, true), tostring(err))
    end))

    it("a password is not made for a connection that is idle, nor when no call waits", function()
        local db, asked = open(nil, { pool = { min = 3, max = 3 } })
        server.sleep(100)
        assert.equal(0, #asked)
        loop.run(function()
            assert(db:wait_ready(2000))
            for _ = 1, 5 do
                assert.equal(1, db:value "select 1")
            end
        end)
        assert.equal(1, #asked)
    end)

    it("a pool that is joined is one that is asked so, too", loop.tasks(function()
        local name = "passwords " .. loop.name
        local db = open(nil, { name = name })
        fails("validation", tidepool.open { url = url, name = name })
        local other, asked = open(nil, { name = name })
        assert.equal(1, other:value "select 1")
        assert.equal(1, db:value "select 1")
        assert.equal(1, #asked)
    end))

    if loop.blocks then
        return
    end

    it("a password may be waited for, and others go on meanwhile", function()
        local ticks, done = 0, false
        local db, asked = open(function()
            loop.sleep(30)
            return server.password
        end, { pool = { min = 0, max = 4 } })
        local began = server.now()
        local function ask()
            local conn = assert(db:acquire())
            loop.sleep(20)
            conn:release()
            done = true
        end
        loop.run(ask, ask, ask, ask, function()
            while not done do
                loop.sleep(2)
                ticks = ticks + 1
            end
        end)
        assert.is_true(ticks >= 3, ("%d ticks"):format(ticks))
        assert.is_true(#asked >= 1 and #asked <= 4)
        assert.is_true(server.now() - began < 2000)
    end)

    it("a call's time is its own, however long the password takes", function()
        local slow = true
        local db = open(function()
            if slow then loop.sleep(800) end
            return server.password
        end, { pool = { min = 0, max = 1 } })
        loop.run(function()
            local began = server.now()
            local result, err = db:query { "select 1", timeout_ms = 50 }
            local took = server.now() - began
            assert.is_nil(result)
            assert.is_true(err.kind == "timeout" or err.kind == "pool_timeout", tostring(err))
            assert.is_true(took >= 50 and took < 750, ("it took %.0f ms"):format(took))
            slow = false
            assert.equal(1, db:value "select 1") -- with what was asked for first
        end)
    end)

    it("a password that never comes is a failure to connect", function()
        local db, asked = open(function(n)
            if n == 1 then loop.sleep(1500) end
            return server.password
        end, { connect_timeout_ms = 700, pool = { min = 0, max = 1 } })
        loop.run(function()
            assert.equal(1, db:value "select 1")
            assert.equal(2, #asked)
            assert.equal(1, db:stats().connect_failures)
        end)
    end)
end)

describe("a password function", function()
    it("is enough where a password is needed", function()
        local where = { host = "127.0.0.1", port = server.port, user = server.user, database = server.database }
        where.password = function() return server.password end
        assert.is_true(tidepool.is_configured(where))
        local db = assert(tidepool.open(where))
        assert.equal(1, db:value "select 1")
        db:close()
    end)

    it("may ask the same database, which fails at its deadline and not before", function()
        local db
        db = assert(tidepool.open { url = url, pool = { min = 0, max = 1 }, log = { queries = false, slow_ms = 100000 },
            password = function()
                local value, err = db:value { "select 1", timeout_ms = 50 }
                return value, err and err.message
            end })
        local began = server.now()
        local result, err = db:query { "select 1", timeout_ms = 200 }
        assert.is_nil(result)
        assert.is_table(err)
        assert.is_true(server.now() - began < 2000)
        db:close()
    end)
end)
