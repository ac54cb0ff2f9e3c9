--- A pool that finds its size: what callers notice of it.
-- Only Lua 5.4: the number of connections is the core's.
local loops = require "spec.support.loops"

loops.each(function(loop)
    local function open()
        return loop.open { pool = { min = 0, max = 4, adaptive = true, acquire_timeout_ms = 8000 } }
    end

    it("pool.adaptive begins with few connections and gives another to who holds one", loop.tasks(function()
        local db = open()
        assert.equal(1, db:stats().limit)
        assert.equal(4, db:stats().max)
        local conns = {}
        for i = 1, loop.blocks and 1 or 3 do
            conns[i] = assert(db:acquire())
        end
        assert.is_true(db:stats().limit >= #conns)
        for _, conn in ipairs(conns) do
            assert.equal(1, conn:value "select 1")
            conn:release()
        end
        assert.is_true(db:stats().total_connections <= db:stats().limit)
    end))

    it("without pool.adaptive the limit is pool.max", loop.tasks(function()
        local db = loop.open { pool = { min = 0, max = 3 } }
        assert.equal(3, db:stats().limit)
    end))
end)
