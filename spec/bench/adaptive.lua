--- pool.adaptive beside pools of fixed sizes: 48 tasks of one event loop that always want something of a server that
-- has as many processors as this machine.
--
--     make bench-adaptive [SECONDS=4] [ROUNDS=3] [WARM=20]
local cqueues = require "cqueues"
local tidepool = require "tidepool"

local seconds = tonumber(os.getenv "SECONDS") or 4
local rounds = tonumber(os.getenv "ROUNDS") or 3
local warm = tonumber(os.getenv "WARM") or 20
local TASKS, MOST = 48, 24
local WORK = "select count(*) from generate_series(1, $1::int) where random() < 2"

local function open(size, adaptive)
    return assert(tidepool.open {
        url = os.getenv "DATABASE_URL", await = "cqueues", log = { queries = false, slow_ms = 0 },
        pool = { min = adaptive and 1 or size, max = size, adaptive = adaptive, acquire_timeout_ms = 60000 },
    })
end

-- Calls per second, and the 50th and 99th of 100 of their milliseconds.
local function run(db, time)
    local controller, took = cqueues.new(), {}
    local ends = cqueues.monotime() + time
    for _ = 1, TASKS do
        controller:wrap(function()
            while cqueues.monotime() < ends do
                local began = cqueues.monotime()
                assert(db:value(WORK, 5000))
                took[#took + 1] = (cqueues.monotime() - began) * 1000
            end
        end)
    end
    local began = cqueues.monotime()
    assert(controller:loop())
    local passed = cqueues.monotime() - began
    table.sort(took)
    return #took / passed, took[math.ceil(#took * 0.5)], took[math.ceil(#took * 0.99)]
end

local function median(list)
    table.sort(list)
    return list[(#list + 1) // 2]
end

local pools = {}
for _, size in ipairs { 1, 2, 3, 4, 6, 8, 12, 24 } do
    pools[#pools + 1] = { name = ("%d"):format(size), db = open(size, false) }
end
pools[#pools + 1] = { name = "adaptive", db = open(MOST, true), adaptive = true }
for _, pool in ipairs(pools) do
    pool.rates, pool.middles, pool.lates = {}, {}, {}
    run(pool.db, pool.adaptive and warm or 1)
end
for _ = 1, rounds do
    for _, pool in ipairs(pools) do
        local rate, middle, late = run(pool.db, seconds)
        table.insert(pool.rates, rate)
        table.insert(pool.middles, middle)
        table.insert(pool.lates, late)
    end
end

local best
print(("%-10s %12s %10s %10s"):format("size", "calls/s", "p50 ms", "p99 ms"))
for _, pool in ipairs(pools) do
    pool.rate, pool.late = median(pool.rates), median(pool.lates)
    print(("%-10s %12.0f %10.1f %10.1f"):format(pool.name, pool.rate, median(pool.middles), pool.late))
    if not pool.adaptive and (not best or pool.rate > best.rate) then
        best = pool
    end
end
local own = pools[#pools]
print(("adaptive: %d connections; %.2f of the best fixed size (%s); p99 %.2f of its"):format(
    own.db:stats().limit, own.rate / best.rate, best.name, own.late / best.late))
for _, pool in ipairs(pools) do
    pool.db:close()
end
