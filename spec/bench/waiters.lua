--- Ten thousand tasks on a pool of eight, in a program that may open 1,024 files: order, and deadlines.
--   waiters.lua cqueues | luv [TASKS]
-- First all of them want a connection at once and use it: they have to be served in the order in which they came. Then
-- all eight are held, and each task waits with a timeout of its own: how late is each refused, and is any too early?
-- Prints one line for each; ends with 1 when a task was not served, overtaken or refused early.
local core = require "tidepool.core"
local tidepool = require "tidepool"

local name, tasks = arg[1], tonumber(arg[2]) or 10000
local library = require(name)

local run = {}

function run.cqueues(list)
    local controller = library.new()
    for _, task in ipairs(list) do
        controller:wrap(task)
    end
    assert(controller:loop())
end

function run.luv(list)
    for _, task in ipairs(list) do
        coroutine.wrap(task)()
    end
    library.run()
end

local function open()
    return assert(tidepool.open {
        await = name, log = { queries = false, slow_ms = 0 }, pool = { min = 8, max = 8, acquire_timeout_ms = 120000 },
    })
end

local function percentile(sorted, share)
    return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

local function order()
    local db, served, list, asked = open(), {}, {}, 0
    assert(db:wait_ready(5000))
    for i = 1, tasks do
        list[i] = function()
            asked = asked + 1
            local place = asked
            local connection = assert(db:acquire())
            served[#served + 1] = place
            assert(connection:value("select $1::int", i) == i)
            connection:release()
        end
    end
    local began = core.now()
    run[name](list)
    local overtaken = 0
    for at, place in ipairs(served) do
        overtaken = overtaken + (at ~= place and 1 or 0)
    end
    print(("%s: %d of %d tasks served, %d out of order, in %.0f ms"):format(
        name, #served, tasks, overtaken, core.now() - began))
    db:close()
    return #served == tasks and overtaken == 0
end

local function deadlines()
    local db, late, list, early, other = open(), {}, {}, 0, 0
    local held, ended = {}, 0
    for i = 1, 8 do
        held[i] = assert(db:acquire())
    end
    for i = 1, tasks do
        list[i] = function()
            local timeout = 100 + math.floor(0.4 * tasks) + (i * 7919) % math.ceil(tasks / 5)
            local before = core.now()
            local connection, err = db:acquire(timeout)
            local after = core.now() - before - timeout
            if connection or err.kind ~= "pool_timeout" then
                other = other + 1
            end
            early = early + (after < 0 and 1 or 0)
            late[#late + 1] = after
            ended = ended + 1
            if ended == tasks then
                for _, one in ipairs(held) do
                    one:release()
                end
            end
        end
    end
    run[name](list)
    table.sort(late)
    print(("%s: %d of %d refused at their deadline, %d early, %d otherwise; late by %.2f ms (median), %.2f ms (p99), "
        .. "%.2f ms at most"):format(name, #late, tasks, early, other, percentile(late, 0.5), percentile(late, 0.99),
        late[#late]))
    db:close()
    return #late == tasks and early == 0 and other == 0
end

local good = order()
good = deadlines() and good
os.exit(good and 0 or 1)
