--- tidepool under an event loop: sixteen tasks on eight connections, in one thread.
--   loops.lua cqueues | luv
local contest = require "spec.bench.contest"
local name = ...
local loop = contest.need(name)
local tidepool = require "tidepool"

local KEYS, TASKS, CONNECTIONS = 100000, 16, 8
local db = assert(tidepool.open {
    await = name, log = { queries = false }, pool = { min = CONNECTIONS, max = CONNECTIONS },
})

local run = {}

function run.cqueues(fn)
    local controller = loop.new()
    for _ = 1, TASKS do
        controller:wrap(fn)
    end
    assert(controller:loop())
end

function run.luv(fn)
    for _ = 1, TASKS do
        coroutine.wrap(fn)()
    end
    loop.run()
end

local function tasks(amount, watch)
    local left = amount
    watch:start()
    run[name](function()
        while left > 0 do
            left = left - 1
            local rows = assert(db:query("select * from bench_point where id = $1", math.random(KEYS)))
            assert(rows[1].id)
        end
    end)
    watch:stop(amount)
end

contest.serve("tidepool, " .. name, { { "W5", tasks } })
