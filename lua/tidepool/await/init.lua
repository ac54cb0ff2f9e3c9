--- How calls wait under an event loop: the running coroutine is parked, and others go on.
--
-- All calls that wait on one loop share a hub: a reactor of the core's, which has one descriptor
-- that can be read when some of them may go on. One task of the loop at a time waits for that
-- descriptor and wakes the others: the first that has to wait, and when it is done a task made for
-- the purpose, for as long as anybody waits.
--
-- What a loop can do is in its adapter, see tidepool.await.adapter.
-- @module tidepool.await
local adapters = require "tidepool.await.adapter"
local compat = require "tidepool.compat"
local core = require "tidepool.core"
local failure = require "tidepool.failure"

local M = {}
local pcall = compat.pcall
local waits, resume = core.waits, core.resume

-- ----------------------------------------------------------------------- hubs

local Hub = {}
Hub.__index = Hub

-- Stands for the token of the task that waits for the descriptor itself.
local leader = {}

local function new_hub(adapter)
    local hub = setmetatable({
        adapter = adapter,
        tokens = {},     -- of parked tasks, by the key of the call
        early = {},      -- calls that could go on before their task was parked
        watched = false, -- a task waits for the descriptor
        told = false,    -- it does not know yet that it may go on itself
    }, Hub)
    if adapter.shared then -- the token of a task that was ended is let go
        setmetatable(hub.tokens, { __mode = "v" })
    end
    hub.reactor = core.reactor(hub)
    return hub
end

-- Wakes those who may go on, in their order. The leader, which is not woken but rung for, is to go on before those
-- behind it: they stay with the reactor until it looks.
local function dispatch(hub, leads)
    local reactor, tokens, wake = hub.reactor, hub.tokens, hub.adapter.wake
    while leads or not hub.told do
        local key = reactor:next()
        if not key then
            return
        end
        local token = tokens[key]
        tokens[key] = nil
        if token == nil then
            hub.early[key] = true
        elseif token == leader then
            hub.told = true
        else
            wake(token)
        end
    end
end

--- The same in the middle of a call, while another task may wait for the descriptor: it looks when it may go on or has
-- nothing more to wait for.
function Hub:dispatch()
    dispatch(self, false)
    if self.watched and (self.told or self.reactor:waiting() == 0) then
        self.reactor:ring()
    end
end

-- Waits once, in the running task.
local function wait(hub)
    local adapter, reactor = hub.adapter, hub.reactor
    if adapter.timers == false then
        reactor:alarm()
        adapter.wait(reactor:fd())
    else
        adapter.wait(reactor:fd(), reactor:sleep())
    end
    reactor:look()
    dispatch(hub, true)
end

-- A loop may end the wait by an error (it is being torn down): then nobody waits any more.
local function wait_safely(hub)
    local ok, err = pcall(wait, hub)
    if not ok then
        hub.watched, hub.told = false, false
        error(err, 0)
    end
end

local function watch(hub)
    while hub.reactor:waiting() > 0 do
        wait_safely(hub)
    end
    hub.watched = false
end

local function hand_over(hub)
    hub.watched = true
    hub.adapter.spawn(function() watch(hub) end)
end

local function lead(hub, key)
    local tokens = hub.tokens
    hub.watched = true
    tokens[key] = leader
    repeat
        wait_safely(hub)
    until tokens[key] == nil
    hub.watched, hub.told = false, false
    if hub.reactor:waiting() > 0 then
        hand_over(hub)
    end
end

-- Parks the running task until the call may go on.
local function park(hub, key)
    if hub.early[key] then
        hub.early[key] = nil
        return
    end
    local adapter = hub.adapter
    if not hub.watched and not adapter.shared then
        return lead(hub, key)
    end
    local token = adapter.token()
    hub.tokens[key] = token
    if not hub.watched then
        hand_over(hub)
    end
    adapter.park(token)
end

-- Of what a method returned: its results, or that it has to wait.
local function settle(hub, ...)
    local first, call, key = ...
    if first ~= waits then
        return ...
    end
    park(hub, key)
    return settle(hub, resume(call))
end

-- ---------------------------------------------------------------- finding one

-- Hubs by adapter and loop. A loop that the program has dropped takes its hub along.
local hubs = {}

-- The hub of what is done apart, while that goes on.
local apart

-- The hub to wait with; or nil for a call that blocks; or nil and why there may be no waiting here.
local function find(adapter)
    local loop, why
    if apart then
        return apart
    elseif adapter then
        loop, why = adapter.current(true)
        if not loop then
            return nil, why
        end
    else
        adapter, loop, why = adapters.find()
        if not adapter then
            return nil, why
        end
    end
    local of_loops = hubs[adapter]
    if not of_loops then
        of_loops = setmetatable({}, { __mode = "k" })
        hubs[adapter] = of_loops
    end
    local hub = of_loops[loop]
    if not hub then
        hub = new_hub(adapter)
        of_loops[loop] = hub
    end
    return hub
end

-- Where a pcall that may wait is a coroutine of its own (Lua 5.1), a task is several of them.
local tells_task = compat.running ~= coroutine.running

-- A method of the core's: `begin` starts it with a reactor, or with nil to block.
local function call(adapter, begin, ...)
    local hub, why = find(adapter)
    if hub then
        if tells_task then
            core.set_task(compat.running())
        end
        return settle(hub, begin(hub.reactor, ...))
    elseif why then
        return nil, failure.new("validation", why)
    end
    return begin(nil, ...)
end

core.set_await(call)

-- -------------------------------------------------------------------- methods

-- Where a C function cannot be yielded across (Lua 5.1, LuaJIT) the methods are wrapped.
local function wrap(methods)
    for name, begin in pairs(methods._begins or {}) do
        local blocking = methods[name]
        methods[name] = function(self, ...)
            local adapter, blocks = core.adapter(self)
            if blocks then
                return blocking(self, ...)
            end
            return call(adapter, begin, self, ...)
        end
    end
    methods._begins = nil
end

wrap(core.db_methods)
wrap(core.connection_methods)
wrap(core.stream_methods)
wrap(core.copy_methods)
wrap(core.listener_methods)

--- db:each(sql, ...): rows one by one, in constant memory.
-- @return for a generic for: an iterator, two nils and the stream, which has a method close
-- for Luas where a loop that is left does not close it
function M.each(self, ...)
    local next_row, err, _, stream = self:_each(...)
    if not next_row then
        error(err, 0)
    end
    local hub = stream:_hub()
    if not hub then
        return next_row, nil, nil, stream
    end
    return function() return settle(hub, next_row()) end, nil, nil, stream
end

-- ---------------------------------------------------------------------- apart

-- How long each answer of the server is waited for by who finds the time to go on with what is done apart. Its
-- deadlines pass while nobody does, so most of it should be done at once: this is more than a server nearby takes.
local PATIENCE_S = 0.01

-- Whoever does something apart is gone on with when somebody finds the time.
local between_calls = { name = "between calls", spawn = function(fn) fn() end }

function between_calls.wait(fd, seconds)
    if not core.console.wait(fd, math.min(seconds or PATIENCE_S, PATIENCE_S)) then
        coroutine.yield()
    end
end

-- Goes on with a coroutine on its own hub; true when it has ended.
local function step_apart(db, hub, co)
    local before, _, blocks = apart, core.adapter(db)
    apart = hub
    if blocks then
        db:_set_adapter(nil, false)
    end
    local ok, err = coroutine.resume(co)
    if blocks then
        db:_set_adapter(nil, true)
    end
    apart = before
    if not ok then
        error(err, 0)
    end
    return coroutine.status(co) == "dead"
end

--- Does something without keeping the caller waiting: as another task of the loop that runs it, or where calls block
-- a bit at a time.
-- @param db the database that it uses
-- @param fn what is done; it does not wait for anything but this database
-- @return nil where a loop does it; else a function that begins or goes on with it, for some milliseconds, and tells
-- whether nothing is left to do
function M.apart(db, fn)
    local adapter, blocks = core.adapter(db)
    local hub = not blocks and find(adapter)
    if hub then
        hub.adapter.spawn(fn)
        return nil
    end
    local own, co = new_hub(between_calls), coroutine.create(fn)
    return function() return step_apart(db, own, co) end
end

--- The adapter that the option `await` means.
-- @param said nil for the loop that is found, "blocking", the name of a loop, or an adapter of the program's; what is
-- wrong raises an error
function M.adapter(said)
    if said == nil or said == "blocking" then
        return said
    end
    return adapters.get(said)
end

--- Says how a database waits.
-- @param db the database
-- @param adapter of M.adapter
function M.attach(db, adapter)
    if adapter == "blocking" then
        db:_set_adapter(nil, true)
    elseif adapter then
        db:_set_adapter(adapter, false)
    end
end

return M
