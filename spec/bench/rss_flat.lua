--- Does the memory of a process stay what it is? Runs `select $1::int` through db:value, after a warm-up of 10,000
--- calls, and prints the resident set before and after. Ends with code 1 when it grew by 1 % or more.
---
---     spec/support/pg.sh run env LUA_PATH=... LUA_CPATH=... lua5.4 spec/bench/rss_flat.lua [COUNT] [URL]
---
--- COUNT is 1,000,000 when not said; URL comes from the environment (DATABASE_URL) when not said.
local tidepool = require "tidepool"

local WARM_UP = 10000
local count = tonumber(arg and arg[1] or 1000000)

-- Kilobytes that are resident: the second number of statm, in pages of 4096 bytes.
local function resident()
    collectgarbage()
    collectgarbage()
    local file = assert(io.open "/proc/self/statm")
    local _, pages = file:read("*n", "*n")
    file:close()
    return pages * 4
end

local db = assert(tidepool.open { url = arg and arg[2], log = { queries = false }, pool = { min = 1, max = 1 } })

local function run(times)
    for i = 1, times do
        local value, err = db:value("select $1::int", i)
        if value ~= i then
            error(("call %d gave %s, %s"):format(i, tostring(value), tostring(err)))
        end
    end
end

run(WARM_UP)
local before, began = resident(), os.time()
run(count)
local after = resident()
local growth = 100 * (after - before) / before
print(("%d calls in %d s; resident before %d kB, after %d kB, growth %.2f %%")
    :format(count, os.time() - began, before, after, growth))
db:close()
os.exit(growth < 1 and 0 or 1, true)
