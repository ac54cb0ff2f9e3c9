--- A fault proxy between a client and a server: whatever may happen to a link can be had here, at any moment and while
--- connections live. It is a process of its own (proxy_process.lua), which goes on while a spec waits for tidepool.
--
--     local link = proxy.start()                     -- to the throwaway server, over its unix socket
--     local db = tidepool.open { url = link.url(), ... }
--     link:hole "to_client"                          -- from now on the client hears nothing more
--     link:stop()
local server = require "spec.support.server"
local socket = require "socket"

local M = {}

local Link = {}
Link.__index = Link

local function quote(word)
    return "'" .. word:gsub("'", [['\'']]) .. "'"
end

--- Starts a proxy. `to` is the path of a unix socket or "host:port"; when not said, the throwaway server's socket.
--- `where` may have the address on which it is found (`host`, when not said 127.0.0.1) and a command that runs it
--- elsewhere (`through`).
function M.start(to, where)
    where = where or {}
    local host = where.host or "127.0.0.1"
    to = to or ("%s/.s.PGSQL.%d"):format(server.socket, server.port)
    local folder = debug.getinfo(1, "S").source:match "^@(.*)proxy%.lua$"
    local pipe = assert(io.popen(("exec %s %s %s %s %s"):format(where.through or "",
        quote(os.getenv "LUA" or "lua5.4"), quote(folder .. "proxy_process.lua"), quote(to), quote(host))))
    local port, control = pipe:read("l"):match "^(%d+)%s(%d+)$"
    local link = setmetatable({ host = host, port = tonumber(port), pipe = pipe }, Link)
    link.control = assert(socket.connect(host, tonumber(control)))
    link.control:setoption("tcp-nodelay", true)
    link.control:settimeout(10)
    return link
end

--- Ends the proxy, and with it all connections.
function Link:stop()
    self.control:send "quit\n" -- others may have inherited the socket
    self.control:close()
    self.pipe:close()
end

local function tell(self, ...)
    assert(self.control:send(table.concat({ ... }, " ") .. "\n"))
    return (assert(self.control:receive "*l"))
end

--- A URL through the proxy; `options` as of server.url. To a socket that asks for no password.
function Link:url(options)
    local where = { host = self.host, port = self.port, password = "none", sslmode = "disable" }
    for name, value in pairs(options or {}) do where[name] = value end
    return server.url(where)
end

--- From now on what goes in that direction ("to_client", "to_server"; nil: both) disappears, the end of a connection
--- too.
function Link:hole(direction)
    for _, which in ipairs(direction and { direction } or { "to_client", "to_server" }) do
        tell(self, "way", which, "hole")
    end
end

--- How data goes on: `chunk` bytes at once (nil: as they come), `pause_ms` between two chunks, each `delay_ms` late.
function Link:pace(chunk, pause_ms, delay_ms)
    tell(self, "pace", chunk or "all", pause_ms or 0, delay_ms or 0)
end

--- Each link is closed when its client has got `bytes` more; links to come too.
function Link:truncate(bytes)
    tell(self, "truncate", bytes or "never")
end

--- Everything as it should be again, for links to come and those that have not lost anything.
function Link:pass()
    tell(self, "way", "to_client", "pass")
    tell(self, "way", "to_server", "pass")
    self:pace()
    self:truncate()
end

--- The next client that sends a message with `bytes` in it loses its link, orderly or by a reset (`how` is "close" or
--- "reset"). `when` is "before": what came before is answered, and the message does not reach the server; or "after":
--- the server has it and answers it, of which the client hears nothing.
function Link:trap(when, bytes, how)
    tell(self, "trap", when, how or "close", (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
end

--- The next COMMIT, in whatever form it is sent, is the end of its link.
function Link:lose_commit(when, how)
    self:trap(when, "COMMIT\0", how)
end

--- How many clients have gone into traps.
function Link:caught()
    return tonumber(tell(self, "caught"))
end

--- Ends all links there are: in an orderly way or, with "reset", by a reset.
function Link:cut(how)
    tell(self, "cut", how or "close")
end

--- New connections are refused, those that there are go on; `accept` ends that.
function Link:refuse()
    tell(self, "refuse")
end

function Link:accept()
    tell(self, "accept")
end

--- How many links there are.
function Link:links()
    return tonumber(tell(self, "links"))
end

return M
