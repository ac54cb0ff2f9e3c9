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

-- A condition for each coroutine, used again and again.
local tokens = setmetatable({}, { __mode = "k" })

function M.token()
    local task = coroutine.running()
    local token = tokens[task]
    if not token then
        token = { condition = condition.new() }
        tokens[task] = token
    end
    token.woken = false
    return token
end

-- A signal is lost when nobody waits yet.
function M.park(token)
    while not token.woken do
        token.condition:wait()
    end
end

function M.wake(token)
    token.woken = true
    token.condition:signal()
end

return M
