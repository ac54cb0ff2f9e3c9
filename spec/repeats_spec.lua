--- The warning of statements that are made again and again where one would do.
local tidepool = require "tidepool"
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local function open(repeats, options)
    local lines = {}
    local where = {
        url = server.url(), pool = { min = 0, max = 3 },
        log = { queries = false, slow_ms = 0, repeats = repeats, sink = function(level, message, fields)
            lines[#lines + 1] = { level = level, message = message, fields = fields }
        end },
    }
    for name, value in pairs(options or {}) do where[name] = value end
    return assert(tidepool.open(where)), lines
end

describe("the warning of repeated statements", function()
    it("comes once for a place, with the statement, how often and where", function()
        local db, lines = closing(open(3))
        local events = {}
        db:on("repeats", function(event) events[#events + 1] = event end)
        local line
        local function load(conn)
            for i = 1, 10 do
                assert(conn:query(("select %d"):format(i)))
                line = debug.getinfo(1, "l").currentline - 1
            end
        end
        db:with(load)
        db:transaction(function(tx) load(tx) return true end)
        assert.equal(1, #lines)
        assert.equal("warning", lines[1].level)
        assert.equal("select ?", lines[1].fields.sql)
        assert.equal(4, lines[1].fields.count)
        assert.truthy(lines[1].fields.place:find("repeats_spec.lua:" .. line, 1, true), lines[1].fields.place)
        assert.equal(1, #events)
        assert.equal(lines[1].fields.place, events[1].place)
    end)

    it("does not come of as many as there may be, and of blocks apart", function()
        local db, lines = closing(open(3))
        for _ = 1, 5 do
            db:with(function(conn)
                for _ = 1, 3 do assert(conn:query "select 1") end
                for _ = 1, 3 do assert(conn:query "select 1, 2") end
            end)
        end
        assert.same({}, lines)
    end)

    it("does not come of BEGIN and COMMIT, and of a program outside of any block", function()
        local db, lines = closing(open(3))
        for _ = 1, 10 do
            assert(db:transaction(function() return true end))
            assert(db:query "select 1")
        end
        db:with(function(conn)
            for _ = 1, 10 do assert(conn:transaction(function() return true end)) end
        end)
        assert.same({}, lines)
    end)

    it("does not come where it is off, as in production", function()
        local db, lines = closing(open(0))
        db:with(function(conn) for _ = 1, 50 do assert(conn:query "select 1") end end)
        assert.same({}, lines)
        local production = closing(open(nil, { profile = "production", tls = { mode = "disable" } }))
        assert.equal("0", production:option "log.repeats")
        local development = closing(open(nil, { profile = "development" }))
        assert.equal("20", development:option "log.repeats")
    end)

    it("ends with its block, also when that raises an error", function()
        local db, lines = closing(open(3))
        assert.is_false((pcall(db.with, db, function(conn)
            for _ = 1, 3 do assert(conn:query "select 1") end
            error "oh"
        end)))
        for _ = 1, 10 do assert(db:query "select 1") end
        assert.same({}, lines)
        assert.equal(0, db:_state().blocks)
    end)

    loops.each(function(loop)
        it("counts for each task apart", loop.tasks(function()
            local lines = {}
            local db = loop.open { log = { queries = false, slow_ms = 0, repeats = 5, sink = function(_, _, fields)
                lines[#lines + 1] = fields
            end } }
            local done = 0
            local function task(n)
                return function()
                    for _ = 1, n do assert(db:query "select 1") end
                    done = done + 1
                end
            end
            for _ = 1, 3 do loop.spawn(task(5)) end
            loop.wait(function() return done == 3 end)
            assert.equal(0, #lines)
            loop.spawn(task(6))
            loop.wait(function() return done == 4 end)
            assert.equal(1, #lines)
            assert.equal(6, lines[1].count)
        end))
    end, loops.concurrent)
end)
