--- Waiting under cqueues: a coroutine that a controller runs.
-- @module tidepool.await.cqueues
local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local M = { name = "cqueues" }

function M.current()
    return (cqueues.running())
end

function M.spawn(fn)
    cqueues.running():wrap(fn)
end

function M.wait(fd, seconds)
    cqueues.poll({ pollfd = fd, events = "r" }, seconds)
end

-- ------------------------------------------------------------ parked tasks

-- A controller runs first whom it was told of last. So that tasks go on in the order in which they were woken, the
-- first one is told, and when it runs all that were woken meanwhile, the last of them first; and so on.

-- Of each controller: woken, tokens in order, from `first` to `last`; told, how many of those told have not run yet.
local queues = setmetatable({}, { __mode = "k" })
-- A token for each coroutine, used again and again.
local tokens = setmetatable({}, { __mode = "k" })

local function queue_of(controller)
    local queue = queues[controller]
    if not queue then
        queue = { first = 1, last = 0, told = 0, woken = {} }
        queues[controller] = queue
    end
    return queue
end

-- Tells tasks up to the first that is not parked yet; when that is the very first, it need not park.
local function tell(queue)
    local woken, first, stop = queue.woken, queue.first, queue.first
    while stop <= queue.last and (woken[stop].parked or stop == first) do
        stop = stop + 1
    end
    for i = stop - 1, first, -1 do
        local token = woken[i]
        woken[i] = nil
        token.told = true
        token.condition:signal()
    end
    queue.first, queue.told = stop, stop - first
    if stop > queue.last then
        queue.first, queue.last = 1, 0
    end
end

-- A coroutine within a task may be dropped by it at any time, so that nobody waits for its turn.
function M.token()
    local task = coroutine.running()
    local token = tokens[task]
    if not token then
        local controller, is_task = cqueues.running()
        token = { condition = condition.new(), queue = is_task and queue_of(controller) or nil }
        tokens[task] = token
    end
    token.told, token.parked = false, false
    return token
end

function M.park(token)
    local queue = token.queue
    token.parked = true
    if queue and queue.told == 0 and queue.last > 0 then
        tell(queue)
    end
    while not token.told do
        token.condition:wait()
    end
    if queue then
        queue.told = queue.told - 1
        if queue.told == 0 and queue.last > 0 then
            tell(queue)
        end
    end
end

function M.wake(token)
    local queue = token.queue
    if not queue then
        token.told = true
        token.condition:signal()
        return
    end
    queue.last = queue.last + 1
    queue.woken[queue.last] = token
    if queue.told == 0 then
        tell(queue)
    end
end

return M
