--- The command line: which commands there are, and how the process ends.
-- @module tidepool.cli
local terminal = require "tidepool.cli.terminal"

local M = {}

local commands = { "health", "ping", "query", "listen", "stats", "top", "serve" }

local CODES = [[
Exit codes:
  0  all is well
  1  the database said no: a statement failed, it is not healthy, nothing answered a ping
  2  the command line or the configuration is wrong
  3  no connection could be made
  4  time was up
  5  the output could not be written
  130, 143  ended by Ctrl-C, by SIGTERM; what ran on the server is cancelled]]

local WHERE = [[
The database is the one that --url names, else DB_CONNECTION_STRING, DATABASE_URL, DB_HOST ... or PGHOST ...
Arguments can be seen by everybody on the machine (ps): leave passwords to the environment or a password file.]]

local function load_argparse()
    local ok, argparse = pcall(require, "argparse")
    if not ok then
        terminal.exit(2, "argparse is missing: install Debian's lua-argparse, or `luarocks install argparse`")
    end
    return argparse
end

local convert = {}

function convert.duration(text)
    local seconds = tonumber(text)
    if not seconds or seconds <= 0 or seconds > 1e6 then
        return nil, ("'%s' is no number of seconds"):format(text)
    end
    return seconds
end

function convert.natural(text)
    local number = text:find "^%d+$" and tonumber(text)
    if not number or number < 1 or number > 1e9 then
        return nil, ("'%s' is no positive whole number"):format(text)
    end
    return number
end

-- argparse's own would not see whether it could be written.
local function add_help(parser)
    parser:add_help { action = function()
        terminal.write(parser:get_help(), "\n")
        terminal.flush()
        terminal.exit(0)
    end }
end

local function add_command(parser, name)
    local module = require("tidepool.cli." .. name)
    local command = parser:command(name, module.description):summary(module.summary)
    add_help(command)
    command:epilog("Examples:\n" .. module.examples .. "\n\n" .. WHERE)
    if name ~= "serve" then
        command:option "--timeout":argname "<seconds>":convert(convert.duration):description(module.timeout
            or "How long connecting, and each statement, may take (default: 10 to connect, no limit for statements).")
    end
    command:option "--url":argname "<url>":description "postgresql://user@host/database; best without a password."
    module.configure(command, convert)
    return module
end

--- The parser, and the modules of the commands by name.
function M.parser()
    local parser = load_argparse()("tidepool", "PostgreSQL from the command line, through tidepool's pool.")
    local modules = {}
    parser:command_target "command":require_command(true)
    add_help(parser)
    parser:flag "--version":description "Print the version.":action(function()
        terminal.write(require("tidepool")._VERSION, "\n")
        terminal.flush()
        terminal.exit(0)
    end)
    for _, name in ipairs(commands) do
        modules[name] = add_command(parser, name)
    end
    parser:epilog("tidepool COMMAND --help has the options of a command, and examples.\n\n" .. WHERE .. "\n\n" .. CODES)
    parser:help_max_width(110)
    return parser, modules
end

local function usage_error(parser, message)
    io.stderr:write(parser:get_usage(), "\n\ntidepool: ", message, "\n")
    terminal.exit(2)
end

local function run(arguments)
    local parser, modules = M.parser()
    parser.error = usage_error
    for _, command in ipairs(parser._commands) do
        command.error = usage_error
    end
    local args = parser:parse(arguments)
    if args.command ~= "serve" then -- another program takes its place, and nobody would look whether a signal came
        terminal.watch()
    end
    modules[args.command].run(args)
    terminal.flush()
end

local function conclude(ok, err)
    if not ok and not terminal.is_exit(err) then
        terminal.complain(tostring(err))
        return 1
    elseif not ok and err.message then
        terminal.complain(err.message)
    end
    return ok and 0 or err.code
end

--- Runs a command.
-- @param arguments a list of words
-- @return the exit code for the process
function M.main(arguments)
    io.stdout:setvbuf("full", 65536)
    -- In a coroutine, as calls that wait are made from one on every Lua; it never yields.
    local code = conclude(coroutine.resume(coroutine.create(function() run(arguments) end)))
    local database = package.loaded["tidepool.cli.database"]
    if database then
        database.close()
    end
    return code
end

return M
