-- Acquire + release of an idle connection from Lua, beside a bare free list behind two methods (freelist.c): pairs per
-- second on one thread, medians of interleaved rounds. Needs DATABASE_URL.
local tidepool = require "tidepool"
local freelist = require "freelist"

local PAIRS, ROUNDS = 1000000, 7

local db <close> = assert(tidepool.open { log = { queries = false } })
assert(db:value "select 1")

local function ours()
    for _ = 1, PAIRS do
        db:acquire():release()
    end
end

local list = freelist()
local function bare()
    for _ = 1, PAIRS do
        list:release(list:acquire())
    end
end

local function rate(fn)
    local began = os.clock()
    fn()
    return PAIRS / (os.clock() - began) / 1e6
end

local function median(values)
    table.sort(values)
    return values[#values // 2 + 1]
end

local a, b = {}, {}
for round = 1, ROUNDS do
    a[round], b[round] = rate(ours), rate(bare)
end
print(("Lua: acquire + release %6.2f M/s, bare free list       %6.2f M/s, ratio %.2f"):format(
    median(a), median(b), median(a) / median(b)))
