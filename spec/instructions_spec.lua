--- What one query costs the client, in instructions, by where they are executed: counted by callgrind, so that a
--- regression shows without a clock and on a busy machine too.
---
--- The ceilings are a little above what was counted when they were last set (gcc 12, x86-64, libpq 15, Lua 5.4.4); a
--- compiler that makes much different code may need others.
-- Only Lua 5.4: its ceilings are for that Lua.
local callgrind = require "spec.support.callgrind"
local server = require "spec.support.server"

local FEW, MANY = 500, 2500

-- Instructions in core.so for one query.
local CEILINGS = { W1 = 6100, W2 = 5550 }

local PROGRAM = [[
    local tidepool = require "tidepool"
    local url, workload, n = arg[1], arg[2], tonumber(arg[3])
    local db = assert(tidepool.open { url = url, log = { queries = false }, pool = { min = 0, max = 1 } })
    local workloads = {
        -- one row by its key
        W1 = function(i)
            local rows = assert(db:query("select * from instructions_spec where id = $1", i))
            assert(rows[1].id == i)
        end,
        W2 = function(i)
            local rows = assert(db:query("select $1::int as number", i))
            assert(rows[1].number == i)
        end,
    }
    local run = workloads[workload]
    for i = 1, n do run(i % 100 + 1) end
]]

local function why_not()
    local variant = os.getenv "TIDEPOOL_TEST_VARIANT" or "default"
    if variant ~= "default" then
        return "what is built for " .. variant .. " executes other instructions"
    elseif (server.sh "uname -m"):gsub("%s", "") ~= "x86_64" then
        return "the ceilings are those of x86-64"
    end
    return callgrind.absent()
end

describe("the instructions of a query", function()
    local reason, script = why_not(), nil

    setup(function()
        if reason then return end
        server.psql [[create table instructions_spec
            (id int primary key, name text not null, amount int8 not null, score float8, active bool)]]
        server.psql [[insert into instructions_spec
            select i, 'name ' || i, i * 1000000007::int8, i * 0.37, i % 3 = 0 from generate_series(1, 100) i]]
        script = os.tmpname()
        local file = assert(io.open(script, "w"))
        file:write(PROGRAM)
        file:close()
    end)

    teardown(function()
        if reason then return end
        os.remove(script)
        server.psql "drop table instructions_spec"
    end)

    for _, workload in ipairs { "W1", "W2" } do
        it(("in core.so are below the ceiling (%s)"):format(workload), function()
            if reason then
                pending(reason)
                return
            end
            local cost = callgrind.per_operation({ script, server.url(), workload }, FEW, MANY)
            print(("%s: %.0f instructions in core.so (ceiling %d), libpq %.0f, Lua %.0f, libc %.0f, others %.0f")
                :format(workload, cost.core, CEILINGS[workload], cost.libpq, cost.Lua, cost.libc, cost.others))
            assert.is_true(cost.core > 100, "nothing was counted")
            assert.is_true(cost.core <= CEILINGS[workload],
                ("%.0f instructions in core.so, the ceiling is %d"):format(cost.core, CEILINGS[workload]))
        end)
    end
end)
