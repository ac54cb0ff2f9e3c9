--- What specs expect of databases and calls, in words.
local assert = require "luassert"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local M = {}

--- A call that fails with an error of this kind, which is returned.
-- @usage local err = fails("timeout", db:query { "select pg_sleep(1)", timeout_ms = 50 })
function M.fails(kind, result, err)
    assert.is_nil(result)
    assert.is_table(err)
    assert.equal(kind, err.kind, tostring(err))
    return err
end

--- Calls fn(), which takes at least `least` and at most `most` milliseconds. Returns what fn returns.
function M.takes(least, most, fn)
    local began = server.now()
    local results = portable.pack(fn())
    local took = server.now() - began
    assert.is_true(took >= least and took <= most, ("%.0f ms, not %d to %d"):format(took, least, most))
    return portable.unpack(results, 1, results.n)
end

--- A function that opens a database of the tests' server by these options, those that it is given before them.
-- @usage local open = opener { pool = { max = 2 } }; local db = open { name = "main" }
function M.opener(defaults)
    local tidepool = require "tidepool"
    return function(options)
        local where = { url = server.url() }
        for name, value in pairs(defaults) do where[name] = value end
        for name, value in pairs(options or {}) do where[name] = value end
        return assert(tidepool.open(where))
    end
end

return M
