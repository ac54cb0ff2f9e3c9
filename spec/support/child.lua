--- Lua programs in processes of their own, for what only a fresh environment or a whole process can show.
local compat = require "tidepool.compat"
local server = require "spec.support.server"

local M = {}

--- The Lua that runs the specs.
M.lua = os.getenv "LUA" or "lua5.4"

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- Variables of the parent that say where a database is; a child has only those that it is given.
local unset = { "DATABASE_URL", "APP_ENV", "NODE_ENV" }

local function command_of(path, environment, arguments, through)
    local words = { "exec " .. (through or "") .. " env" }
    for _, name in ipairs(unset) do
        words[#words + 1] = "-u " .. name
    end
    for name, value in pairs(environment or {}) do
        words[#words + 1] = quote(name .. "=" .. value)
    end
    words[#words + 1] = quote(environment and environment.LUA or M.lua)
    words[#words + 1] = quote(path)
    for _, argument in ipairs(arguments or {}) do
        words[#words + 1] = quote(argument)
    end
    return table.concat(words, " ")
end

local function with_file(text, fn)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local results = compat.pack(pcall(fn, path))
    os.remove(path)
    if not results[1] then
        error(results[2], 0)
    end
    return compat.unpack(results, 2, results.n)
end

--- Runs the text of a Lua program to its end. Returns its standard output and error together and its exit code.
-- @param through a program of spec/support that runs the command which it is given, for example silent_net.sh; or nil
function M.run(text, environment, arguments, through)
    return with_file(text, function(path)
        return server.sh(command_of(path, environment, arguments, through))
    end)
end

--- Starts a Lua program (by the Lua that environment.LUA names, if any) and returns a handle: handle:lines() has what
--- it writes, handle:finish() waits for its end and returns the rest of its output and its exit code. The program's
--- standard input ends when the handle is closed.
function M.start(text, environment, arguments)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local pipe = assert(io.popen(("exec 2>&1\n(\n%s\n)\necho $? >%s.code"):format(
        command_of(path, environment, arguments), path)))
    local handle = {}
    function handle.lines()
        return pipe:lines()
    end
    function handle.finish()
        local output = pipe:read "*a"
        pipe:close()
        local code = assert(io.open(path .. ".code"))
        local number = code:read "*n"
        code:close()
        os.remove(path .. ".code")
        os.remove(path)
        return output, number
    end
    return handle
end

return M
