--- The throwaway PostgreSQL of the specs (see pg.sh), seen from the outside: nothing here uses tidepool.
local system = require "system"

local M = {}

local function variable(name)
    return os.getenv("TIDEPOOL_TEST_" .. name)
        or error("TIDEPOOL_TEST_" .. name .. " is not set: run the specs with make test or make spec FILE=...", 3)
end

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

local function percent(text)
    return (tostring(text):gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Runs a shell command. Returns its standard output and error together and its exit code, which comes behind the
--- output: closing a pipe does not tell it in Lua 5.1.
function M.sh(command)
    local pipe = assert(io.popen("exec 2>&1\n(\n" .. command .. "\n)\nprintf ' %d' $?"))
    local output, code = pipe:read("*a"):match "^(.*) (%d+)$"
    pipe:close()
    return output, tonumber(code)
end

M.socket = variable "SOCKET"           -- folder of the unix socket
M.port = tonumber(variable "PORT")     -- on 127.0.0.1, and in the name of the socket
M.user = variable "USER"               -- a superuser
M.password = variable "PASSWORD"       -- asked for over TCP only
M.database = variable "DATABASE"
M.pgdata = variable "PGDATA"
M.bindir = variable "BINDIR"

--- A connection URL. `options`: `tcp = true` goes over 127.0.0.1 with the password, otherwise over the unix socket;
--- `user`, `password`, `database`, `host`, `port` replace the server's own; every other field is a URL parameter.
function M.url(options)
    local known = { tcp = true, user = true, password = true, database = true, host = true, port = true }
    local o = options or {}
    local tcp = o.tcp or o.host
    local password = o.password or (tcp and M.password)
    local parameters = {}
    for name, value in pairs(o) do
        if not known[name] then
            parameters[#parameters + 1] = percent(name) .. "=" .. percent(value)
        end
    end
    table.sort(parameters)
    return ("postgresql://%s%s@%s:%d/%s%s%s"):format(
        percent(o.user or M.user), password and ":" .. percent(password) or "",
        o.host or (tcp and "127.0.0.1" or percent(M.socket)), o.port or M.port,
        percent(o.database or M.database), #parameters > 0 and "?" or "", table.concat(parameters, "&"))
end

--- Runs SQL through psql over the socket of a server: this one, or one of servers.lua. Returns the output, unaligned,
--- without headers and without its last newline; raises an error when psql fails.
function M.psql_on(where, sql)
    local program = "PGOPTIONS='-c client_min_messages=warning' " .. M.bindir .. "/psql -qXAt -v ON_ERROR_STOP=1"
    local output, code = M.sh(("%s -h %s -p %d -U %s -d %s -c %s")
        :format(program, where.socket, where.port, M.user, M.database, quote(sql)))
    output = output:gsub("\n$", "")
    if code ~= 0 then
        error("psql: " .. output, 3)
    end
    return output
end

--- The same on this server.
function M.psql(sql)
    return (M.psql_on(M, sql))
end

local function pg_sh(command)
    local script = debug.getinfo(1, "S").source:match("^@(.*)server%.lua$") .. "pg.sh"
    local output, code = M.sh(quote(script) .. " " .. command .. " </dev/null")
    if code ~= 0 then
        error("pg.sh " .. command .. ": " .. output, 3)
    end
end

--- kill -9 of the postmaster: every connection dies within moments.
function M.kill9() pg_sh "kill9" end

--- Stops the server in an orderly way (57P01 to every connection).
function M.stop_fast() pg_sh "stop-fast" end

--- Stops it without a farewell to anybody: what runs is cut off, and there is a recovery when it starts again.
function M.stop_immediately() pg_sh "stop-immediately" end

--- Starts it again on the same socket and port; returns when it accepts connections.
function M.start_again() pg_sh "start-again" end

local names = 0

--- A name that nobody else on this machine has, for what processes share: also not specs that run at the same time, or
--- that were killed before.
function M.new_name(prefix)
    names = names + 1
    return ("%s-%d-%d-%d"):format(prefix, M.port, os.time(), names)
end

--- Monotonic milliseconds.
function M.now()
    return system.monotime() * 1000
end

--- Sleeps. Only for load that has to last a while: to see something come about, use `wait`.
function M.sleep(ms)
    system.sleep(ms / 1000)
end

--- Calls `fn` until it returns something true, at most for `ms` milliseconds (default 5000). Returns what it returned,
--- false or nil when it never did.
function M.wait(fn, ms)
    local deadline = M.now() + (ms or 5000)
    while true do
        local value = fn()
        if value or M.now() >= deadline then
            return value
        end
        M.sleep(2)
    end
end

--- The number of client connections of an application name (nil: all but psql's own).
function M.backends(application_name)
    local condition = "backend_type = 'client backend' and pid <> pg_backend_pid()"
    if application_name then
        condition = condition .. " and application_name = '" .. application_name:gsub("'", "''") .. "'"
    end
    return tonumber(M.psql("select count(*) from pg_stat_activity where " .. condition))
end

--- pg_terminate_backend on the connections of an application name. Returns how many were ended, once they are gone.
function M.terminate(application_name)
    local count = M.psql("select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity "
        .. "where application_name = '" .. application_name:gsub("'", "''") .. "'")
    return tonumber(count)
end

return M
