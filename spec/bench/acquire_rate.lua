--- W4 from Lua: acquire + release of an idle connection on one thread, statistics on, beside a bare free list behind
--- two methods (freelist.c).
local contest = require "spec.bench.contest"
local tidepool = require "tidepool"
local freelist = require "freelist"

local function ours(amount, watch)
    local db <close> = assert(tidepool.open { log = { queries = false } })
    assert(db:value "select 1")
    watch:start()
    for _ = 1, amount do
        db:acquire():release()
    end
    watch:stop(amount)
    assert(db:stats().acquires >= amount)
end

local function bare(amount, watch)
    local list = freelist()
    watch:start()
    for _ = 1, amount do
        list:release(list:acquire())
    end
    watch:stop(amount)
end

contest.serve("Lua", { { "W4.tidepool", ours }, { "W4.freelist", bare } })
