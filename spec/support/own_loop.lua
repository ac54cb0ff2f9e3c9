--- A small event loop, as a program may have one of its own, and its adapter for tidepool: coroutines that wait in
-- select(2) of LuaSocket.
local compat = require "tidepool.compat"
local socket = require "socket"
local system = require "system"

local now = system.monotime

local Loop = {}
Loop.__index = Loop

local M = { adapter = { name = "own" } }
local running -- the loop that runs

function M.new()
    return setmetatable({ ready = {}, sleepers = {}, tasks = 0 }, Loop)
end

function Loop:is_busy()
    return self.tasks > 0
end

function Loop:resume(task)
    assert(coroutine.resume(task))
    if coroutine.status(task) == "dead" then
        self.tasks = self.tasks - 1
    end
end

function Loop:spawn(fn)
    self.tasks = self.tasks + 1
    table.insert(self.ready, coroutine.create(fn))
end

-- Suspends the running task until the time has come, or the descriptor, if any, can be read.
function Loop:sleep(until_then, fd)
    self.sleepers[compat.running()] = { time = until_then, getfd = fd and function() return fd end }
    coroutine.yield()
end

function Loop:wait(seconds)
    local files, soon = {}, #self.ready > 0 and 0 or seconds
    for task, sleeper in pairs(self.sleepers) do
        soon = math.max(0, math.min(soon, sleeper.time - now()))
        if sleeper.getfd then
            sleeper.task = task
            table.insert(files, sleeper)
        end
    end
    local readable = socket.select(files, nil, soon)
    for task, sleeper in pairs(self.sleepers) do
        if readable[sleeper] or sleeper.time <= now() then
            self.sleepers[task] = nil
            table.insert(self.ready, task)
        end
    end
end

function Loop:step(seconds)
    self:wait(seconds)
    local ready = self.ready
    self.ready, running = {}, self
    for _, task in ipairs(ready) do
        self:resume(task)
    end
    running = nil
end

function M.sleep(seconds)
    running:sleep(now() + seconds)
end

-- --------------------------------------------------------------------- adapter

function M.adapter.current()
    return running
end

function M.adapter.spawn(fn)
    running:spawn(fn)
end

function M.adapter.wait(fd, seconds)
    running:sleep(now() + (seconds or math.huge), fd)
end

function M.adapter.token()
    return { task = compat.running(), loop = running }
end

function M.adapter.park(token)
    token.parked = true
    if not token.woken then
        coroutine.yield()
    end
end

function M.adapter.wake(token)
    token.woken = true
    if token.parked then
        table.insert(token.loop.ready, token.task)
    end
end

return M
