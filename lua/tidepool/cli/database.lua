--- The database of a command: how it is opened, and what its errors mean for the process.
-- @module tidepool.cli.database
local core = require "tidepool.core"
local terminal = require "tidepool.cli.terminal"
local tidepool = require "tidepool"

local M = {}

local opened = {}

local REFUSED, USAGE, UNREACHABLE, TIMED_OUT = 1, 2, 3, 4
local DEFAULT_S, CANCEL_MS = 10, 2000

local codes = {
    connection = UNREACHABLE, tls = UNREACHABLE, not_configured = UNREACHABLE, pool_timeout = UNREACHABLE,
    timeout = TIMED_OUT,
}

--- The exit code for an error of tidepool's.
function M.code_of(err)
    return type(err) == "table" and codes[err.kind] or REFUSED
end

-- The line of the statement that an error is in, and a mark below.
local function excerpt(sql, position)
    local before, characters = 1, 1 -- bytes and characters up to the error
    for at in sql:gmatch "()[%z\1-\127\194-\244][\128-\191]*" do
        if characters == position then
            before = at
            break
        end
        characters, before = characters + 1, #sql + 1
    end
    local _, line = sql:sub(1, before - 1):gsub("\n", "")
    local start = sql:sub(1, before - 1):match "()[^\n]*$"
    local text = require "tidepool.cli.text"
    local label = ("line %d: "):format(line + 1)
    local indent = text.width(label .. text.plain(sql:sub(start, before - 1)))
    return "\n" .. label .. text.plain(sql:sub(start):match "^[^\n]*") .. "\n" .. (" "):rep(indent) .. "^"
end

-- What tostring says of it, but for what has lines of its own.
local function headline(err)
    local short = { kind = err.kind, code = err.code, name = err.name, message = err.message }
    return tostring(setmetatable(short, getmetatable(err)))
end

--- Ends the command with an error of tidepool's.
-- @param sql the statement, when it is known
function M.fail(err, sql)
    if type(err) ~= "table" or not err.kind then
        error(err, 0)
    end
    local lines = { headline(err) }
    if sql and err.position then
        lines[#lines + 1] = excerpt(sql, err.position)
    end
    for _, name in ipairs { "detail", "hint", "where" } do
        if err[name] then
            lines[#lines + 1] = ("\n%s: %s"):format(name, err[name])
        end
    end
    terminal.exit(M.code_of(err), table.concat(lines))
end

--- Calls a function and ends the command when it returns nil and an error, or raises one.
function M.must(sql, ok, ...)
    if not ok then
        M.fail((...), sql)
    end
    local value, err = ...
    if value == nil and err ~= nil then
        M.fail(err, sql)
    end
    return ...
end

local function milliseconds(seconds)
    return seconds and math.max(1, math.floor(seconds * 1000 + 0.5)) or 0
end

-- Warnings are told; whatever else the log says, the command says itself, also what a listener may have missed.
local function sink(level, message, fields)
    if level == "warning" and fields.event ~= "gap" then
        terminal.complain(message)
    end
end

--- Opens the database that --url or the environment names. One connection is enough, which counts for no budget: a
-- command has to work just when the service has taken all of it.
-- @param args of the command line: url, timeout
function M.open(args, more)
    local patience = milliseconds(args.timeout or DEFAULT_S)
    local where = {
        url = args.url,
        await = terminal.adapter,
        application_name = "tidepool " .. args.command,
        query_timeout_ms = milliseconds(args.timeout),
        connect_timeout_ms = patience,
        log = { queries = false, connections = false, slow_ms = 0, sink = sink },
        pool = { min = 0, max = 2, max_total = 0, acquire_timeout_ms = patience, adaptive = false },
        breaker = { failures = 1 },
    }
    for name, value in pairs(more or {}) do
        where[name] = value
    end
    local db, err = tidepool.open(where)
    if not db then
        terminal.exit(err.kind == "tls" and UNREACHABLE or USAGE, tostring(err))
    end
    opened[#opened + 1] = db
    return db
end

local function wait_for_cancels(db)
    local deadline = core.now() + CANCEL_MS
    while db:stats().mending > 0 and core.now() < deadline do
        core.sleep(1)
    end
end

--- Closes what was opened. What still runs on the server is cancelled by the pool's own thread, which has to be given
-- the time for it.
function M.close()
    collectgarbage() -- gives up the operation that was left in its middle
    for _, db in ipairs(opened) do
        wait_for_cancels(db)
        db:close()
    end
    opened = {}
    collectgarbage() -- os.exit does not free pools, and so what they share with other processes
end

return M
