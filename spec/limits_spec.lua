--- The limits of a pool: what is larger is an error that names the option, and the pool is as good after it.
-- Only Lua 5.4: the limits are the core's.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local function open(limits, more)
    local where = { url = server.url(), log = { queries = false }, pool = { min = 0, max = 1 }, limits = limits }
    for name, value in pairs(more or {}) do where[name] = value end
    return closing(assert(tidepool.open(where)))
end

local function fails(message, result, err)
    assert.is_nil(result)
    assert.equal("validation", err.kind, tostring(err))
    assert.equal(message, err.message)
end

describe("limits", function()
    it("of the SQL text are kept by every call, and the connection is not touched", function()
        local db = open { sql_bytes = 100 }
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        local long = "select 1 --" .. ("x"):rep(90)
        local says = "the SQL text has 101 bytes, more than limits.sql_bytes = 100 allows"
        for _, method in ipairs { "query", "one", "value", "exec", "script" } do
            fails(says, conn[method](conn, long))
        end
        local _, err = conn:pipeline(function(p) p:query "select 1" p:query(long) end)
        assert.truthy(err.message:find(says, 1, true), err.message)
        fails(says, conn:copy_out("copy (select 1) to stdout " .. (" "):rep(75), function() end))
        assert.equal(pid, conn:value("select pg_backend_pid() --" .. ("x"):rep(74)))
    end)

    it("of the parameters are for all of them together", function()
        for _, prepare in ipairs { true, false } do
            local db = open({ parameter_bytes = 100 }, { prepare = prepare })
            local sql = "select length($1::text || $2::text)"
            for _ = 1, 2 do
                fails("the parameters have 101 bytes, more than limits.parameter_bytes = 100 allows",
                    db:value(sql, ("a"):rep(50), ("b"):rep(51)))
                assert.equal(100, db:value(sql, ("a"):rep(50), ("b"):rep(50)))
            end
            local _, err = db:query_many("select $1::text", { { "a" }, { ("b"):rep(101) } })
            assert.equal("validation", err.kind)
            assert.equal(2, err.item)
            assert.equal(1, db:value "select 1")
        end
    end)

    it("of rows and bytes count where the call says none, however the rows come", function()
        local rows = "select i from generate_series(1, 50) i"
        local bytes = "select repeat('x', 96) from generate_series(1, 11)"
        for _, prepare in ipairs { true, false } do
            local db = open({ rows = 20, result_bytes = 1000 }, { prepare = prepare })
            for _ = 1, 2 do
                fails("the result has more rows than limits.rows = 20 allows: 21 so far", db:query(rows))
                fails("the result has more rows than limits.rows = 20 allows: 21 so far", db:script(rows))
                local larger = "the result is larger than limits.result_bytes = 1000 allows: 1100 bytes so far"
                fails(larger, db:query(bytes))
                fails(larger, db:script(bytes))
                assert.equal(50, #assert(db:query { rows, max_rows = 50 }))
                assert.equal(11, #assert(db:query { bytes, max_result_bytes = 1100 }))
            end
            local _, err = db:pipeline(function(p) p:query "select 1" p:query(rows) end)
            assert.equal("item 2 of 2: the result has more rows than limits.rows = 20 allows: 21 so far", err.message)
            assert.equal(1, db:value "select 1")
        end
    end)

    it("of rows and bytes are not for a stream", function()
        local db = open { rows = 20, result_bytes = 1000 }
        local n = 0
        for _ in db:each "select i from generate_series(1, 5000) i" do n = n + 1 end
        assert.equal(5000, n)
        n = 0
        assert(db:copy_out("(select i from generate_series(1, 5000) i)", function() n = n + 1 end))
        assert.equal(5000, n)
    end)

    it("of bytes are for what comes as one message, too", function()
        for _, where in ipairs { server.url(), server.url { tcp = true } } do
            local db = open({ result_bytes = 1000 }, { url = where })
            for n = 1, 3 do
                local _, err = db:query("select repeat('x', $1)", 3000000)
                assert.equal("validation", err.kind, tostring(err))
                assert.truthy(err.message:find("limits.result_bytes", 1, true), err.message)
                assert.equal(n, db:value("select $1::int", n))
            end
        end
    end)

    it("have defaults", function()
        local db = open()
        assert.equal("67108864", db:option "limits.sql_bytes")
        assert.equal("1000000000", db:option "limits.parameter_bytes")
        assert.equal("0", db:option "limits.rows")
        assert.equal("1073741824", db:option "limits.result_bytes")
        assert.equal("100000", db:option "pool.max_waiting")
    end)
end)
