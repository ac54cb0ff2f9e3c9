--- What one query costs the client, in instructions, by where they are executed: counted by callgrind, so that a
--- regression shows without a clock and on a busy machine too.
---
--- A program is run twice, with few and with many queries; the difference is what the queries cost. The ceilings are
--- a little above what was counted when they were last set (gcc 12, x86-64, libpq 15, Lua 5.4.4); a compiler that
--- makes much different code may need others.
-- Only Lua 5.4: its ceilings are for that Lua.
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

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

local function why_not()
    local variant = os.getenv "TIDEPOOL_TEST_VARIANT" or "default"
    if variant ~= "default" then
        return "what is built for " .. variant .. " executes other instructions"
    elseif (server.sh "uname -m"):gsub("%s", "") ~= "x86_64" then
        return "the ceilings are those of x86-64"
    elseif select(2, server.sh "command -v valgrind") ~= 0 then
        return "there is no valgrind"
    elseif select(2, server.sh("valgrind --tool=callgrind --callgrind-out-file=/dev/null true")) ~= 0 then
        return "valgrind does not run here"
    end
end

-- ------------------------------------------------------------- callgrind's file

--- The instructions of each object file, by its name without folders, from the text of callgrind's output: the costs
--- of lines, without those of calls, which are what the called functions have cost in total.
--- Source: valgrind's manual, "Callgrind Format Specification".
local function instructions_of(path)
    local names, sums, object, skip, sum, total = {}, {}, "?", false, 0, nil
    for line in io.lines(path) do
        local id, name = line:match "^ob=(%(%d+%)) ?(.*)$"
        if not id then
            id, name = line:match "^cob=(%(%d+%)) ?(.*)$"
            if id and name ~= "" then names[id] = name:match "[^/]*$" end
            if line:find "^calls=" then
                skip = true
            elseif line:find "^[%d+*-]" then
                local cost = line:match "^%S+ (%d+)"
                if cost and not skip then
                    sums[object] = (sums[object] or 0) + tonumber(cost)
                    sum = sum + tonumber(cost)
                end
                skip = false
            else
                total = tonumber(line:match "^totals: (%d+)") or total
            end
        else
            if name ~= "" then names[id] = name:match "[^/]*$" end
            object = names[id]
        end
    end
    assert(sum == total, "callgrind's output was not understood")
    return sums
end

local function count(workload, n, script)
    local out = os.tmpname()
    local words = { "exec valgrind --tool=callgrind --callgrind-out-file=" .. quote(out) }
    for _, word in ipairs { os.getenv "LUA" or "lua5.4", script, server.url(), workload, n } do
        words[#words + 1] = quote(word)
    end
    local output, code = server.sh(table.concat(words, " "))
    local ok, sums = pcall(instructions_of, out)
    os.remove(out)
    assert.equal(0, code, output)
    assert(ok, sums)
    return sums
end

-- The names of what is of interest, by what object files are called.
local PARTS = {
    { "core", "^core%.so" }, { "libpq", "^libpq%.so" }, { "Lua", "^lua" }, { "Lua", "^liblua" },
    { "libc", "^libc%.so" },
}

--- Instructions for one query in each of the parts, and "others".
local function slopes(workload, script)
    local few, many = count(workload, FEW, script), count(workload, MANY, script)
    local result = { core = 0, libpq = 0, Lua = 0, libc = 0, others = 0 }
    for object, sum in pairs(many) do
        local part = "others"
        for _, known in ipairs(PARTS) do
            if object:find(known[2]) then part = known[1] end
        end
        result[part] = result[part] + (sum - (few[object] or 0)) / (MANY - FEW)
    end
    return result
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
            local cost = slopes(workload, script)
            print(("%s: %.0f instructions in core.so (ceiling %d), libpq %.0f, Lua %.0f, libc %.0f, others %.0f")
                :format(workload, cost.core, CEILINGS[workload], cost.libpq, cost.Lua, cost.libc, cost.others))
            assert.is_true(cost.core > 100, "nothing was counted")
            assert.is_true(cost.core <= CEILINGS[workload],
                ("%.0f instructions in core.so, the ceiling is %d"):format(cost.core, CEILINGS[workload]))
        end)
    end
end)
