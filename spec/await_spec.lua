--- Which event loop a call waits with: the one that runs it, the one that open was told of, or none.
local compat = require "tidepool.compat"
local loops = require "spec.support.loops"
local own_loop = require "spec.support.own_loop"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 4 } }

local function has(library)
    return (pcall(require, library))
end

describe("the option await", function()
    it("raises an error for a name that is not known, which lists those that are", function()
        local ok, err = pcall(open, { await = "libevent" })
        assert.is_false(ok)
        assert.truthy(err:find("no event loop 'libevent' is known (known: blocking, nginx, cqueues, luv, copas)", 1,
            true), err)
    end)

    it("raises an error for what is neither a name nor an adapter", function()
        for _, value in ipairs { 5, true, print } do
            local ok, err = pcall(open, { await = value })
            assert.is_false(ok)
            assert.truthy(err:find("must be a name or an adapter, got a " .. type(value), 1, true), err)
        end
    end)

    it("raises an error for an adapter that lacks a function, and names it", function()
        for _, missing in ipairs { "current", "spawn", "wait", "token", "park", "wake" } do
            local adapter = {}
            for name, value in pairs(own_loop.adapter) do
                adapter[name] = value
            end
            adapter[missing] = nil
            local ok, err = pcall(open, { await = adapter })
            assert.is_false(ok)
            assert.truthy(err:find("the adapter has no function '" .. missing .. "'", 1, true), err)
        end
    end)
end)

describe("without a loop", function()
    it("the main program blocks", function()
        local db = open()
        assert.equal("", db:value "select pg_sleep(0.01)::text")
        db:close()
    end)

    it("a coroutine that nobody else would resume blocks, too", function()
        if has "copas" and require("copas").running == nil then
            return -- an old copas cannot tell whether it runs, and counts as running once it is loaded
        end
        local db = open()
        local value = coroutine.wrap(function() return db:value "select 5 from pg_sleep(0.01)" end)
        assert.equal(5, value())
        db:close()
    end)

    it("a database that waits with a loop blocks as long as none runs", function()
        for _, await in ipairs { own_loop.adapter, has "cqueues" and "cqueues", has "luv" and "luv" } do
            local db = open { await = await }
            assert.equal(5, db:value "select 5 from pg_sleep(0.01)")
            db:close()
        end
    end)
end)

-- Runs while a statement does: true when another task of the loop went on meanwhile.
local function goes_on(loop, db)
    local ticks, ended = 0, false
    loop.run(function()
        assert.equal("", db:value "select pg_sleep(0.1)::text")
        ended = true
    end, function()
        while not ended do
            ticks = ticks + 1
            loop.sleep(5)
        end
    end)
    return ticks > 2
end

loops.each(function(loop)
    it("others go on while a task waits", function()
        assert.is_true(goes_on(loop, loop.open()))
    end)

    it("nobody goes on while a task waits that was told to block", function()
        assert.is_false(goes_on(loop, loop.open { await = "blocking" }))
    end)

    it("a database serves the main program, tasks and the main program again", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        assert.equal(1, db:value "select 1")
        loop.run(function() assert.equal(2, db:value "select 2") end, function()
            assert.equal(3, db:value "select 3")
        end)
        assert.equal(4, db:value "select 4")
    end)

    it("a connection may be taken in the main program and used in a task", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local conn = assert(db:acquire())
        loop.run(function() assert.equal("", conn:value "select pg_sleep(0.01)::text") end)
        assert.equal(1, conn:value "select 1")
        conn:release()
    end)

    it("one loop after the other waits with the same pool", function()
        local db = loop.open { pool = { min = 0, max = 2 } }
        for i = 1, 10 do
            loop.run(function() assert.equal(i, db:value("select $1::int", i)) end,
                function() assert.equal(-i, db:value("select $1::int", -i)) end)
        end
        assert.is_true(db:stats().total_connections <= 2)
    end)
end, loops.concurrent)

describe("an adapter of the program's", function()
    -- The loop of own_loop.lua with changes to its adapter.
    local function run(changes, fn, count)
        local adapter = { name = "changed" }
        for name, value in pairs(own_loop.adapter) do
            adapter[name] = adapter[name] or value
        end
        for name, value in pairs(changes) do
            adapter[name] = value
        end
        local db = open { await = adapter, pool = { min = 0, max = 2 } }
        local loop, failure = own_loop.new(), nil
        for i = 1, count do
            loop:spawn(function()
                local ok, err = compat.pcall(fn, db, i)
                failure = failure or not ok and err
            end)
        end
        local deadline = server.now() + 10000
        while loop:is_busy() and server.now() < deadline do
            loop:step(0.05)
        end
        assert.falsy(failure)
        assert.is_false(loop:is_busy(), "all tasks have ended")
        assert.equal(0, db:stats().active_connections)
        db:close()
    end

    local function work(db, i)
        for k = 1, 5 do
            assert.equal(i * k, db:value("select $1::int from pg_sleep(0.002)", i * k))
        end
    end

    it("may end a wait early", function()
        run({ wait = function(fd) own_loop.adapter.wait(fd, 0.0005) end }, work, 6)
    end)

    it("needs no timers", function()
        run({ timers = false, wait = function(fd, seconds)
            assert(seconds == nil)
            own_loop.adapter.wait(fd)
        end }, function(db, i)
            work(db, i)
            local result, err = db:query { "select pg_sleep(30)", timeout_ms = 50 }
            assert.is_nil(result)
            assert.equal("timeout", err.kind)
        end, 2)
    end)

    it("may say that its tasks can be ended, so that a task of its own always watches", function()
        run({ shared = true }, work, 6)
    end)
end)
