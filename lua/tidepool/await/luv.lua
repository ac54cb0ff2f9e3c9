--- Waiting under luv: a coroutine that callbacks of the loop, or others, resume.
--
-- Whatever a coroutine raises after it was resumed here is raised in the loop's callback, as any
-- other error in a callback is.
-- @module tidepool.await.luv
local compat = require "tidepool.compat"
local uv = require "luv"

local M = { name = "luv" }

local function is_coroutine()
    local task, main = compat.running()
    return task ~= nil and not main
end

--- By itself only while the loop runs: a coroutine that was started before may be anything.
function M.current(said)
    if is_coroutine() and (said or uv.loop_mode()) then
        return M
    elseif said and uv.loop_mode() then
        return nil, "this database waits with luv: a callback has to make a coroutine for what waits"
    end
    return nil
end

-- ---------------------------------------------------------------- resuming

local queue, first, last = {}, 1, 0 -- coroutines that may go on
local idle -- runs while there are some

local function resume(task)
    local ok, err = coroutine.resume(task)
    if not ok then
        error(debug.traceback(task, err), 0)
    end
end

-- One that raises an error does not keep the others waiting: the next turn of the loop goes on.
local function flush()
    while first <= last do
        local task = queue[first]
        queue[first] = nil
        first = first + 1
        resume(task)
    end
    first, last = 1, 0
    if idle then
        idle:stop()
    end
end

function M.wake(task)
    last = last + 1
    queue[last] = task
    idle = idle or uv.new_idle()
    idle:start(flush)
end

function M.token()
    return (compat.running())
end

function M.park()
    coroutine.yield()
end

function M.spawn(fn)
    resume(coroutine.create(fn))
end

-- ----------------------------------------------------------------- waiting

local poll, polled, timer -- one descriptor at a time; it stays watched between the waits
local waiter

local function go_on()
    local task = waiter
    waiter = nil
    poll:unref()
    timer:stop()
    if not task then
        poll:stop()
        polled = nil
        return
    end
    last = last + 1
    queue[last] = task -- behind those that were woken before
    flush()
end

local function on_timer()
    if waiter then
        go_on()
    end
end

-- After a fork the descriptor is another.
local fd_of_poll
local function watch(fd)
    if fd_of_poll ~= fd then
        if poll then
            poll:close()
        end
        poll, polled, fd_of_poll = uv.new_poll(fd), nil, fd
    end
    if not polled then
        poll:start("r", go_on)
        polled = true
    end
    poll:ref()
end

function M.wait(fd, seconds)
    timer = timer or uv.new_timer()
    watch(fd)
    if seconds then
        uv.update_time()
        timer:start(math.ceil(seconds * 1000), 0, on_timer)
    end
    waiter = compat.running()
    coroutine.yield()
end

return M
