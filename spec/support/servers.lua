--- Throwaway servers besides the one of the specs: small ones, and streaming replicas.
--
--     local small = servers.start { max_connections = 6 }
--     local replica = small:standby()
--     replica:promote()
--     replica:stop()
--     small:stop()
local server = require "spec.support.server"

local M = {}

local Server = {}
Server.__index = Server

local folder = debug.getinfo(1, "S").source:match "^@(.*)servers%.lua$"

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- Runs pg.sh with these variables besides those of the specs' own server. Returns what it has to say.
local function pg_sh(command, variables)
    local words = { "env" }
    for name, value in pairs(variables) do
        words[#words + 1] = quote(("TIDEPOOL_TEST_%s=%s"):format(name, value))
    end
    words[#words + 1] = quote(folder .. "pg.sh")
    words[#words + 1] = command
    local output, code = server.sh(table.concat(words, " ") .. " </dev/null")
    if code ~= 0 then
        error(("pg.sh %s: %s"):format(command, output), 3)
    end
    return output
end

local function settings_of(options)
    local lines = {}
    for name, value in pairs(options or {}) do
        lines[#lines + 1] = ("%s = '%s'"):format(name, value)
    end
    return table.concat(lines, "\n")
end

local function server_of(exports)
    local self = setmetatable({}, Server)
    for name, value in exports:gmatch "export TIDEPOOL_TEST_(%u+)=([^\n]*)" do
        self[name:lower()] = value
    end
    self.port = tonumber(self.port)
    return self
end

--- Starts a server. `options` are settings of its configuration.
function M.start(options)
    return server_of(pg_sh("start", { TMP = server.socket, SETTINGS = settings_of(options) }))
end

-- Runs a command of pg.sh on this server.
function Server:run(command, variables)
    local all = { SOCKET = self.socket, PORT = self.port, PGDATA = self.pgdata }
    for name, value in pairs(variables or {}) do all[name] = value end
    return pg_sh(command, all)
end

--- A replica of it, which needs wal_level = "replica" and a max_wal_senders.
function Server:standby(options)
    return server_of(self:run("standby", { TMP = server.socket, SETTINGS = settings_of(options) }))
end

--- A connection URL over its socket; `options` as of server.url.
function Server:url(options)
    local where = { host = (self.socket:gsub("/", "%%2F")), port = self.port, password = "none" }
    for name, value in pairs(options or {}) do where[name] = value end
    return server.url(where)
end

--- Runs SQL through psql; see server.psql_on.
function Server:psql(sql)
    return server.psql_on(self, sql)
end

for name, command in pairs {
    kill9 = "kill9", stop_fast = "stop-fast", stop_immediately = "stop-immediately", start_again = "start-again",
    promote = "promote", stop = "stop",
} do
    Server[name] = function(self) self:run(command) end
end

return M
