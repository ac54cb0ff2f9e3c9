--- The event loops, for specs whose behaviour is the same with each: functions that are run as tasks until all have
-- ended, at most for a while, so that a task that hangs fails its test.
local busted = require "busted"
local compat = require "tidepool.compat"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local M = {}

local DEADLINE = 20000 -- ms, for all tasks of a test together
if (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") ~= "default" then
    DEADLINE = 120000
end

-- What each loop has, besides what M.each adds:
--   go(tasks, is_over)  runs functions as tasks until the loop has nothing more to do, or is_over() says so
--   sleep(ms)           in a task
--   spawn(fn)           in a task
local backends = {}

function backends.cqueues()
    local cqueues = require "cqueues"
    local B = {}
    function B.go(tasks, is_over)
        local controller = cqueues.new()
        local function begin(i) -- the order in which a controller begins those that it has is its own business
            if tasks[i] then
                controller:wrap(function()
                    begin(i + 1)
                    tasks[i]()
                end)
            end
        end
        begin(1)
        while not controller:empty() and not is_over() do
            assert(controller:step(0.05))
        end
    end
    function B.sleep(ms)
        cqueues.sleep(ms / 1000)
    end
    function B.spawn(fn)
        cqueues.running():wrap(fn)
    end
    return B
end

function backends.luv()
    local uv = require "luv"
    local B = {}
    local function resume(task)
        assert(coroutine.resume(task))
    end
    local function after(ms, fn)
        local timer = uv.new_timer()
        timer:start(ms, 0, function()
            timer:close()
            fn()
        end)
        return timer
    end
    function B.go(tasks, is_over)
        after(0, function()
            for _, task in ipairs(tasks) do
                B.spawn(task)
            end
        end)
        local ticker = uv.new_timer()
        ticker:start(50, 50, function()
            if is_over() then
                uv.stop()
            end
        end)
        ticker:unref()
        uv.run()
        ticker:close()
        uv.run "nowait"
    end
    function B.sleep(ms)
        local task = compat.running()
        uv.update_time()
        after(math.ceil(ms), function() resume(task) end)
        coroutine.yield()
    end
    function B.spawn(fn)
        resume(coroutine.create(fn))
    end
    return B
end

-- What both loops of select(2) below sleep on: it can be read when its time has come.
local function new_alarm(socket, ms)
    local silent = assert(socket.udp())
    assert(silent:setsockname("127.0.0.1", 0))
    local alarm = { time = server.now() + ms }
    function alarm:getfd() return silent:getfd() end -- luacheck: no self
    function alarm:dirty() return server.now() >= self.time end
    function alarm:receive() return self:dirty() and "" or nil, "timeout" end
    function alarm:settimeout() return 1 end -- luacheck: no self
    function alarm:close() return 1 end -- luacheck: no self
    return alarm
end

function backends.copas()
    local copas = require "copas"
    local socket = require "socket"
    local B = {}
    local left
    function B.go(tasks, is_over)
        left = 0
        for _, task in ipairs(tasks) do
            B.spawn(task)
        end
        while left > 0 and not is_over() do
            copas.step(0.002)
        end
    end
    function B.sleep(ms)
        copas.receive(new_alarm(socket, ms), 1)
    end
    function B.spawn(fn)
        left = left + 1
        copas.addthread(function()
            fn()
            left = left - 1
        end)
    end
    return B
end

-- A loop as a program may have one of its own, with its adapter: see await_adapter_spec.lua.
function backends.own()
    local own = require "spec.support.own_loop"
    local B = { await = own.adapter }
    function B.go(tasks, is_over)
        local loop = own.new()
        for _, task in ipairs(tasks) do
            loop:spawn(task)
        end
        while loop:is_busy() and not is_over() do
            loop:step(0.05)
        end
    end
    function B.sleep(ms)
        own.sleep(ms / 1000)
    end
    function B.spawn(fn)
        own.adapter.spawn(fn)
    end
    return B
end

-- No loop: one function after the other, and the thread waits.
function backends.blocking()
    local B = { blocks = true }
    function B.go(tasks)
        for _, task in ipairs(tasks) do
            task()
        end
    end
    B.sleep = server.sleep
    function B.spawn(fn)
        fn()
    end
    return B
end

-- ---------------------------------------------------------------------- runs

--- A pcall whose function may wait, as a program of that Lua and loop has one.
M.pcall = compat.pcall

-- What a failed task leaves: its error as it is, for busted, and where it was.
local function guarded(fn)
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
        return compat.pcall(fn)
    end
    return xpcall(fn, function(err)
        return { err = err, trace = debug.traceback("in a task:", 2) }
    end)
end

local function raise(failure)
    if type(failure) ~= "table" or failure.trace == nil then
        error(failure, 0)
    end
    if os.getenv "TIDEPOOL_TEST_TRACE" then
        io.stderr:write(failure.trace, "\n")
    end
    error(failure.err, 0)
end

local function add_runs(loop)
    local run -- the tasks of the test: how many have not ended, and how the first one failed

    local function watched(fn)
        local mine = run
        mine.left = mine.left + 1
        return function()
            local ok, failure = guarded(fn)
            mine.left = mine.left - 1
            if not ok and not mine.failure then
                mine.failure = { failure }
            end
        end
    end

    --- Runs functions as tasks until all have ended, also those that they spawn. Raises what the first of them that
    -- failed has raised; the others have then run to their ends all the same.
    function loop.run(...)
        local deadline = server.now() + DEADLINE
        run = { left = 0 }
        local mine, tasks = run, {}
        for i, fn in ipairs { ... } do
            tasks[i] = watched(fn)
        end
        loop.go(tasks, function() return server.now() > deadline end)
        if mine.failure then
            raise(mine.failure[1])
        elseif mine.left > 0 then
            error(("%d tasks have not ended %s"):format(mine.left,
                server.now() > deadline and "in time" or "when their loop had nothing more to do"), 0)
        end
    end

    --- A function that runs these as tasks, for a test.
    function loop.tasks(...)
        local given = compat.pack(...)
        return function() loop.run(compat.unpack(given, 1, given.n)) end
    end

    local spawn = loop.spawn
    --- Runs a function as one more task, from a task.
    function loop.spawn(fn)
        spawn(watched(fn))
    end

    --- Lets others go on until fn() returns something true, which is returned; false or nil after `ms` (default 5000).
    function loop.wait(fn, ms)
        local deadline = server.now() + (ms or 5000)
        local value = fn()
        while not value and server.now() < deadline do
            loop.sleep(2)
            value = fn()
        end
        return value
    end
end

-- ------------------------------------------------------------------ databases

local function add_databases(loop)
    local open = {}

    --- A database of the throwaway server that waits with this loop, for the test; `options` as in tidepool.open.
    function loop.open(options)
        local where = {
            url = server.url(), await = loop.await, pool = { min = 0, max = 4 },
            log = { queries = false, slow_ms = 100000 },
        }
        for name, value in pairs(options or {}) do
            where[name] = value
        end
        local db = assert(tidepool.open(where))
        open[#open + 1] = db
        return db
    end

    --- Closes what the test has opened. Every connection has been given back by then.
    function loop.close_all()
        local held = 0
        while #open > 0 do
            local db = table.remove(open)
            server.wait(function()
                collectgarbage()
                return db:stats().active_connections == 0
            end, 2000)
            held = held + db:stats().active_connections
            db:close()
        end
        return held
    end
end

--- A loop by its name, with what the table of loops above has, for programs that are no tests. Or nil and why there is
--- none.
function M.bare(name)
    local made, loop = pcall(backends[name])
    if not made then
        return nil, loop:match "^[^\n]*"
    end
    loop.name = name
    return loop
end

local function new(name)
    local loop, why = M.bare(name)
    if not loop then
        return nil, why
    end
    loop.pcall = M.pcall
    add_runs(loop)
    add_databases(loop)
    return loop
end

local names = { "blocking", "cqueues", "luv", "copas", "own" }

--- Defines tests for each loop that this Lua has the library of: define(loop).
-- @param define is called inside of a describe
-- @param[opt] only a list of names
function M.each(define, only)
    for _, name in ipairs(only or names) do
        local loop, why = new(name)
        if not loop then
            print(("no tests with %s: %s"):format(name, why))
        else
            busted.describe(name == "blocking" and "without a loop" or "under " .. name, function()
                busted.after_each(function()
                    busted.assert.equal(0, loop.close_all(), "every test gives its connections back")
                end)
                define(loop)
            end)
        end
    end
end

--- The loops under which tasks wait side by side.
M.concurrent = { "cqueues", "luv", "copas", "own" }

return M
