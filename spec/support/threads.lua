--- Lua programs in threads of this process, each in a Lua state of its own: by luv and by cqueues.
local server = require "spec.support.server"

local M = {}

-- What runs in the thread: the program's text, then where its answer goes. It has no upvalues.
local function run(text, path, ...)
    local load = loadstring or load -- luacheck: ignore 113
    local pack = table.pack or function(...) return { n = select("#", ...), ... } end
    local results = pack(pcall(assert(load(text, "=thread")), ...))
    for i = 1, results.n do
        results[i] = tostring(results[i])
    end
    collectgarbage()
    local file = assert(io.open(path, "w"))
    file:write(table.concat(results, "\n"))
    file:close()
end

local starters = {
    luv = function(text, path, ...)
        local uv = require "luv"
        local thread = uv.new_thread(run, text, path, ...)
        return function() uv.thread_join(thread) end
    end,
    cqueues = function(text, path, ...)
        local function without_socket(_, dumped, ...)
            return (loadstring or load)(dumped)(...) -- luacheck: ignore 113
        end
        local thread = assert(require "cqueues.thread".start(without_socket, string.dump(run), text, path, ...))
        return function() assert(thread:join(60)) end
    end,
}

--- The ways to start threads that are installed here.
M.kinds = {}
for _, kind in ipairs { "luv", "cqueues" } do
    if pcall(require, kind == "luv" and "luv" or "cqueues.thread") then
        M.kinds[#M.kinds + 1] = kind
    end
end

--- Starts a program, with strings, numbers and booleans as its arguments. Returns a function that waits for its end
--- and returns what it returned, as text, one result a line; an error of the program's is raised.
function M.start(kind, text, ...)
    local path = os.tmpname()
    local join = starters[kind](text, path, ...)
    return function()
        join()
        local file = assert(io.open(path))
        local answer = file:read "*a"
        file:close()
        os.remove(path)
        local ok, rest = answer:match "^(%w+)\n?(.*)$"
        if ok ~= "true" then
            error("in a thread: " .. tostring(rest), 2)
        end
        return rest
    end
end

--- Two sides of one file: `reach` makes it, `await` waits for it.
function M.gate()
    local path = os.tmpname()
    os.remove(path)
    return {
        path = path,
        reach = function() assert(io.open(path, "w")):close() end,
        await = function()
            local there = server.wait(function()
                local file = io.open(path)
                return file and file:close() or file ~= nil
            end, 20000)
            os.remove(path)
            assert(there, "nobody came to the gate")
        end,
    }
end

return M
