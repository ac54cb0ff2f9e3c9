--- The event loop of nginx (lua-nginx-module, OpenResty): an adapter of tidepool.await.
--
-- nginx waits on no descriptor of others, so a beacon (a thread of the core) writes a byte to a unix socket of its own
-- when the descriptor becomes readable, and the task that watches reads it as any cosocket. Tasks wait on semaphores.
-- Timers run the tasks that belong to no request.
-- luacheck: std +ngx_lua
local core = require "tidepool.core"
local semaphore = require "ngx.semaphore"

local M = {
    name = "nginx",
    --- Requests may end while they wait, so what all of them need is never done by one of them.
    shared = true,
}

-- Requests that end give up what they hold: see lua/binding/owner.h.
core.follow_requests()

local can_wait = {
    server_rewrite = true, rewrite = true, access = true, content = true, timer = true,
    ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}

--- What stands for the loop of this worker in a phase that can wait. In the others nothing may block either, since
--- that would hold up every other request of the worker: nil and why.
function M.current()
    local phase = ngx.get_phase()
    if can_wait[phase] then
        return M
    end
    return nil, ("nginx cannot wait for the database in its %s phase; ngx.timer.at(0, ...) runs a function that can")
        :format(phase)
end

-- Seconds. A semaphore and a cosocket count their milliseconds in an int; whoever waits longer waits again.
local LONG = 1000000
-- How long the watcher sleeps at most. nginx ends a worker that is to go when no timer is left, so this is how much
-- later it may end than its last request.
local LOOK = 1
-- How often a task is tried again that nginx has not begun, and when that is given up.
local BEGIN_AGAIN, BEGIN_AT_MOST = 0.25, 5

-- Tasks that were spawned and have not begun, with the time: nginx drops a timer when too many run at once.
local waiting = {}

-- The cosocket of each task that waits for a descriptor.
local sockets = setmetatable({}, { __mode = "k" })

-- nginx uses the coroutine of a timer that has ended for the next one, in which its cosocket is void.
local function run(_, fn)
    if not waiting[fn] then
        return
    end
    waiting[fn] = nil
    local task = coroutine.running()
    sockets[task] = nil
    fn()
    if sockets[task] then
        sockets[task]:close()
        sockets[task] = nil
    end
end

--- Runs a function as a task of its own: a timer, so that it belongs to no request.
function M.spawn(fn)
    waiting[fn] = waiting[fn] or core.now()
    ngx.timer.at(0, run, fn) -- refused when too many are pending: park tries again
end

local function spawn_again()
    for fn, since in pairs(waiting) do
        if core.now() - since > BEGIN_AT_MOST * 1000 then
            waiting[fn] = nil
            error("nginx starts no timer, which tidepool needs one of in each worker: "
                .. "raise lua_max_running_timers or lua_max_pending_timers", 0)
        end
        M.spawn(fn)
    end
end

--- A waiter for the running task.
function M.token()
    return assert(semaphore.new(0))
end

--- Suspends the running task until wake(token).
function M.park(token)
    repeat
        local woken, problem = token:wait(next(waiting) and BEGIN_AGAIN or LONG)
        if not woken and problem ~= "timeout" then
            error("nginx cannot wait here: " .. problem, 0)
        elseif not woken and next(waiting) then
            spawn_again()
        end
    until woken
end

--- Lets a parked task go on, after the running one has let go.
function M.wake(token)
    token:post(1)
end

local beacon -- of this worker, for its life

local function connect()
    if not beacon then
        local problem
        beacon, problem = core.beacon()
        if not beacon then
            error(problem, 0)
        end
    end
    local socket = ngx.socket.tcp()
    local connected, problem = socket:connect("unix:" .. beacon:address())
    if not connected then
        error("nginx cannot connect to " .. beacon:address() .. ": " .. problem, 0)
    end
    return socket
end

--- Suspends the running task, a spawned one and the only one that does so, until the descriptor is readable or the
--- seconds have passed; at times earlier.
function M.wait(fd, seconds)
    local task = coroutine.running()
    local socket = sockets[task] or connect()
    sockets[task] = socket
    if not beacon:arm(fd) then
        error("the descriptor " .. fd .. " cannot be watched", 0)
    end
    socket:settimeout(math.max(1, math.min(seconds or LOOK, LOOK) * 1000))
    -- Whatever is there: a byte that was late for the wait before must not wake another one.
    local bytes, problem = socket:receiveany(16)
    if not bytes and problem ~= "timeout" then
        sockets[task] = nil
        socket:close()
    end
end

return M
