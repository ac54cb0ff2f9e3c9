--- Waiting in nginx (lua-nginx-module, OpenResty): requests, timers and light threads.
--
-- nginx waits on no descriptor of others, so a beacon (a thread of the core) writes a byte to a unix socket of its own
-- when the descriptor can be read, and the task that watches reads it as any cosocket. Tasks park on semaphores. The
-- watcher is a timer, for it belongs to no request.
-- @module tidepool.await.nginx
-- luacheck: std +ngx_lua
local core = require "tidepool.core"
local semaphore = require "ngx.semaphore"

-- shared: requests may end while they wait, so what all of them need is never done by one of them.
-- timers: nginx logs every wait on a socket that is over, and waits for all of its timers before it ends a worker.
local M = { name = "nginx", shared = true, timers = false }

-- The stream subsystem has requests of another kind.
local is_http = ngx.config.subsystem == "http"
if is_http then
    core.follow_requests() -- those that end give up what they hold: see lua/binding/owner.h
end

-- In ssl_session_fetch and ssl_client_hello only an nginx with OpenResty's patches can wait, for anything.
local can_wait = {
    server_rewrite = true, rewrite = true, access = true, content = true, timer = true,
    ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}

-- Nothing may block in the other phases either: it would hold up every other request of the worker.
function M.current()
    if not is_http then
        return nil, "tidepool cannot wait in nginx's stream subsystem, only in http"
    end
    local phase = ngx.get_phase()
    if can_wait[phase] then
        return M
    end
    return nil, ("nginx cannot wait for the database in its %s phase; a function that is given to ngx.timer.at can")
        :format(phase)
end

-- -------------------------------------------------------------------- tasks

-- Seconds. nginx counts milliseconds in an int; whoever waits longer waits again.
local LONG = 1000000
-- How often a task is tried again that nginx has not begun, and how long a call waits for that.
local BEGIN_AGAIN, BEGIN_AT_MOST = 0.25, 5

-- Tasks that nginx has not begun: it drops a timer when there are too many.
local waiting = {}

-- The timer that has done its task and rests for a while, for another to come: so a worker that has a query now and
-- then keeps its timer and its cosocket. nginx ends a worker when no timer is left, so this is how much longer than its
-- last request it may take.
local resting
local REST = 1

local function rest(own)
    if ngx.worker.exiting() then
        return nil
    end
    local place = { semaphore = own }
    resting = place
    own:wait(REST)
    if resting == place then
        resting = nil
    end
    return place.fn
end

-- The cosocket of each task that waits for a descriptor.
local sockets = setmetatable({}, { __mode = "k" })

-- nginx uses the coroutine of a timer that has ended for the next one, in which its cosocket is void.
local function run(_, fn)
    local task, own = coroutine.running(), assert(semaphore.new(0))
    sockets[task] = nil
    while fn do
        if waiting[fn] then
            waiting[fn] = nil
            fn()
        end
        fn = rest(own)
    end
    if sockets[task] then
        sockets[task]:close()
        sockets[task] = nil
    end
end

function M.spawn(fn)
    local place = resting
    waiting[fn] = true
    if place then
        resting = nil
        place.fn = fn
        place.semaphore:post(1)
    else
        ngx.timer.at(0, run, fn) -- refused when too many are pending: park tries again
    end
end

local function spawn_again()
    for fn in pairs(waiting) do
        ngx.timer.at(0, run, fn)
    end
end

-- Semaphores that nobody waits for, to be used again.
local spares, SPARES_AT_MOST = {}, 256

function M.token()
    return table.remove(spares) or assert(semaphore.new(0))
end

function M.park(token)
    local waited = 0
    repeat
        local seconds = next(waiting) and BEGIN_AGAIN or LONG
        local woken, problem = token:wait(seconds)
        if not woken then
            if problem ~= "timeout" then
                error("nginx cannot wait here: " .. problem, 0)
            end
            waited = next(waiting) and waited + seconds or 0
            if waited >= BEGIN_AT_MOST then
                error("nginx starts no timer, and tidepool needs one in each worker: "
                    .. "raise lua_max_running_timers and lua_max_pending_timers", 0)
            end
            spawn_again()
        end
    until woken
    if #spares < SPARES_AT_MOST then
        spares[#spares + 1] = token
    end
end

function M.wake(token)
    token:post(1)
end

-- ----------------------------------------------------------------- watching

-- Seconds between two looks when there is no beacon, for want of descriptors or threads.
local LOOK_BLINDLY = 0.005

local beacon -- of this worker, for its life

local function connect()
    local problem
    if not beacon then
        beacon, problem = core.beacon()
        if not beacon then
            return nil, tostring(problem)
        end
    end
    local socket = ngx.socket.tcp()
    socket:settimeout(LONG * 1000)
    local connected
    connected, problem = socket:connect("unix:" .. beacon:address())
    if not connected then
        return nil, problem
    end
    return socket
end

local told = false
local function wait_blindly(problem)
    if not told then
        told = true
        ngx.log(ngx.ERR, "tidepool looks for answers every ", LOOK_BLINDLY * 1000, " ms: ", problem)
    end
    ngx.sleep(LOOK_BLINDLY)
end

function M.wait(fd)
    local task = coroutine.running()
    local socket, problem = sockets[task]
    if not socket then
        socket, problem = connect()
        sockets[task] = socket
    end
    if not socket or not beacon:arm(fd) then
        return wait_blindly(problem or "its descriptor cannot be watched")
    end
    -- Whatever is there: a byte that came too late for one wait must not end the next.
    local bytes
    bytes, problem = socket:receiveany(16)
    if not bytes and problem ~= "timeout" then
        sockets[task] = nil
        socket:close()
    end
end

return M
