-- Calls under an event loop wait without stopping it: the same code as in a script, in a coroutine.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/event_loops.lua [cqueues | luv | own]
--
-- own: a loop of the program's own, with an adapter for it.
local tidepool = require "tidepool"

-- ------------------------------------------------- the work: no loop is named in it

local function work(db, number)
    local slept = assert(db:value("select $1::int from pg_sleep(0.1)", number))
    return db:transaction(function(tx)
        return tx:value("select $1::int * 10", slept)
    end)
end

-- Runs ten tasks with `run(list of functions)` and shows that they waited beside each other.
local function show(name, db, run)
    local results, tasks = {}, {}
    for i = 1, 10 do
        tasks[i] = function() results[i] = assert(work(db, i)) end
    end
    local before = os.time()
    run(tasks)
    print(("%s: %s; ten sleeps of 0.1 s on five connections within %d s; %d statements"):format(
        name, table.concat(results, " "), os.time() - before + 1, db:stats().queries))
    db:close()
end

local function open(await)
    return assert(tidepool.open { await = await, pool = { max = 5 }, log = { queries = false } })
end

-- ------------------------------------------------------------------------ cqueues

local programs = {}

-- Inside a controller the pool finds cqueues by itself.
function programs.cqueues()
    local cqueues = require "cqueues"
    show("cqueues", open(), function(tasks)
        local controller = cqueues.new()
        for _, task in ipairs(tasks) do
            controller:wrap(task)
        end
        assert(controller:loop())
    end)
end

-- ---------------------------------------------------------------------------- luv

-- These coroutines begin before the loop runs, so the loop has to be named.
function programs.luv()
    local uv = require "luv"
    show("luv", open "luv", function(tasks)
        for _, task in ipairs(tasks) do
            coroutine.wrap(task)()
        end
        uv.run()
    end)
end

-- -------------------------------------------------------------- a loop of one's own

-- Coroutines in a queue; one at a time may wait for a descriptor. LuaSocket can wait for it.
local function new_loop()
    local socket = require "socket"
    local ready, waiting = {}, nil
    local loop = {}

    function loop.add(fn)
        ready[#ready + 1] = coroutine.create(fn)
    end

    function loop.run()
        while #ready > 0 or waiting do
            local now = ready
            ready = {}
            for _, task in ipairs(now) do
                assert(coroutine.resume(task))
            end
            if waiting and #ready == 0 then
                local object = { getfd = function() return waiting.fd end }
                socket.select({ object }, nil, waiting.seconds)
                ready[1], waiting = waiting.task, nil
            end
        end
    end

    -- What tidepool needs of it.
    loop.adapter = {
        name = "a loop of our own",
        current = function() return coroutine.isyieldable() and loop or nil end,
        spawn = loop.add,
        wait = function(fd, seconds)
            waiting = { fd = fd, seconds = seconds, task = coroutine.running() }
            coroutine.yield()
        end,
        token = function() return coroutine.running() end,
        park = function() coroutine.yield() end,
        wake = function(task) ready[#ready + 1] = task end,
    }
    return loop
end

function programs.own()
    local loop = new_loop()
    show("own loop", open(loop.adapter), function(tasks)
        for _, task in ipairs(tasks) do
            loop.add(task)
        end
        loop.run()
    end)
end

-- ---------------------------------------------------------------------------------

local needs = { cqueues = "cqueues", luv = "luv", own = "socket" }
local chosen = arg and arg[1]
for _, name in ipairs(chosen and { chosen } or { "cqueues", "luv", "own" }) do
    if pcall(require, needs[name]) then
        programs[name]()
    else
        print(("%s: the module %s is not installed"):format(name, needs[name]))
    end
end
