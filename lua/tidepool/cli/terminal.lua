--- The terminal and the process around a command: output that may be cut off, colours, and signals that end it.
-- @module tidepool.cli.terminal
local core = require "tidepool.core"

local console = core.console

local M = {}

-- What is raised to end the command: {code =} with the exit code of the process.
local Exit = { __tostring = function(exit) return ("exit %d"):format(exit.code) end }

--- Ends the command.
-- @param code the exit code of the process
-- @param message for standard error, or nil
function M.exit(code, message)
    error(setmetatable({ code = code, message = message }, Exit), 0)
end

--- Whether a value that was raised is one of M.exit's.
function M.is_exit(value)
    return getmetatable(value) == Exit
end

-- ------------------------------------------------------------------ signals

local SIGNALLED, EPIPE = 128, 32
local SIGPIPE = 13

--- Ends the command when a signal has come.
function M.check()
    local number = console.signal()
    if number then
        M.exit(SIGNALLED + number)
    end
end

--- Waits for `seconds` (nil: for ever) or, with `keys`, until a key is pressed.
-- @return the key, or nil; false at the end of the input
function M.sleep(seconds, keys)
    local _, pressed = console.wait(nil, seconds, keys)
    M.check()
    if pressed then
        return console.key() or false
    end
    return nil
end

--- How calls to the database wait: as a plain program does, but a signal ends them, and what runs on the server is
-- cancelled when the database is closed. There is one task, so nobody ever has to be woken.
local loop = {}
M.adapter = {
    name = "tidepool.cli",
    current = function() return loop end,
    spawn = function(fn) fn() end,
    wait = function(fd, seconds)
        console.wait(fd, seconds)
        M.check()
    end,
    token = function() return loop end,
    park = function() end,
    wake = function() end,
}

-- ------------------------------------------------------------------- output

-- A reader that has gone (`| head`) is no error to speak of.
local function failed(message, number)
    M.check()
    if number == EPIPE then
        M.exit(SIGNALLED + SIGPIPE)
    end
    M.exit(5, "cannot write the output: " .. tostring(message))
end

--- Writes to standard output.
function M.write(...)
    local ok, message, number = io.stdout:write(...)
    if not ok then
        failed(message, number)
    end
end

--- What was written is to be seen now.
function M.flush()
    local ok, message, number = io.stdout:flush()
    if not ok then
        failed(message, number)
    end
end

--- A line for standard error.
function M.complain(message)
    io.stderr:write("tidepool: ", message, "\n")
end

--- Whether standard output is a terminal.
function M.is_terminal()
    return console.is_terminal(1)
end

--- Columns and rows of the terminal; without one the fallback, which may be nil.
function M.size(columns, rows)
    local found, found_rows = nil, nil
    if M.is_terminal() then
        found, found_rows = console.size()
    end
    return found or columns, found_rows or rows
end

local codes = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

--- The text in a colour ("red", "bold" ...), where colours are shown and wanted (no-color.org).
function M.colour(name, text)
    local unwanted = os.getenv "NO_COLOR"
    if not name or not M.is_terminal() or unwanted and unwanted ~= "" or os.getenv "TERM" == "dumb" then
        return text
    end
    return ("\27[%sm%s\27[0m"):format(codes[name], text)
end

M.keys = console.keys
M.watch = console.watch
M.has_keyboard = function() return console.is_terminal(0) end

return M
