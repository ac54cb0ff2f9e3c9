--- Waiting under copas: a thread of copas.addthread, or the handler of a server.
--
-- Copas waits for sockets and for nothing else, so what it is given here are objects that look like
-- sockets to it: one with the descriptor, and for parked threads ones with that of a socket on which
-- nothing ever comes, which say that they have something to be read when they were woken.
-- @module tidepool.await.copas
local compat = require "tidepool.compat"
local copas = require "copas"
local luasocket = require "socket"

local M = { name = "copas", timers = false }

-- Whether copas can tell that it runs differs between its versions; one that cannot runs every
-- coroutine, as far as is known.
function M.current()
    local task, main = compat.running()
    if task and not main and copas.running ~= false then
        return M
    end
    return nil
end

function M.spawn(fn)
    copas.addthread(fn)
end

local Socket = {}
Socket.__index = Socket

function Socket:getfd()
    return self.fd
end

function Socket:dirty()
    return self.ready
end

-- Asked before copas waits, when there is nothing yet, and when it has waited.
function Socket:receive()
    if self.ready or self.waited then
        return ""
    end
    self.waited = true
    return nil, "timeout"
end

function Socket.settimeout()
    return 1
end

function Socket.close()
    return 1
end

local function socket(fd)
    return setmetatable({ fd = fd, ready = false, waited = false }, Socket)
end

function M.wait(fd)
    copas.receive(socket(fd), 1)
end

local silent

function M.token()
    if not silent then
        silent = assert(luasocket.udp())
        assert(silent:setsockname("127.0.0.1", 0)) -- without a name it may have no descriptor
    end
    return socket(silent:getfd())
end

function M.park(token)
    while not token.ready do
        token.waited = false
        copas.receive(token, 1)
    end
end

function M.wake(token)
    token.ready = true
end

return M
