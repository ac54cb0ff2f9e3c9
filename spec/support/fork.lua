--- Functions in a forked child of this process.
local process = require "spec.support.process"

local M = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end

local function write(path, results)
    for i = 1, results.n do
        results[i] = tostring(results[i])
    end
    local file = assert(io.open(path, "w"))
    file:write(table.concat(results, "\n"))
    file:close()
end

--- Forks. In the child `answer(...)` writes what the parent gets and ends it, without closing anything. In the parent
--- `await()` waits for its end, and returns what it has written, one value a line; how it ended must have been well.
-- @return "child", answer; or "parent", await
function M.fork()
    local path = os.tmpname()
    io.stdout:flush() -- or the child would write it, too
    io.stderr:flush()
    local pid = process.fork()
    if pid == 0 then
        return "child", function(...)
            write(path, pack(...))
            process.quit(0)
        end, path
    end
    return "parent", function()
        local how, code = process.wait(pid)
        local file = assert(io.open(path))
        local text = file:read "*a"
        file:close()
        os.remove(path)
        if how ~= "exit" or code ~= 0 then
            error(("the child ended by %s %d after it wrote: %s"):format(how, code, text), 2)
        end
        return text
    end
end

--- Calls fn in a child, and returns what it returned there, one value a line. An error of fn's is raised here.
-- @param[opt] leave how the child ends when fn has returned: function(); without it, nothing is closed
function M.run(fn, leave)
    local who, go_on, path = M.fork()
    if who == "child" then
        local results = pack(pcall(fn))
        if not leave then
            go_on((table.unpack or unpack)(results, 1, results.n)) -- luacheck: ignore 113
        end
        write(path, results)
        fn, results = nil, nil -- luacheck: ignore 311
        pcall(leave)
        process.quit(9) -- it came back
    end
    local ok, rest = go_on():match "^(%w+)\n?(.*)$"
    if ok ~= "true" then
        error("in the child: " .. tostring(rest), 2)
    end
    return rest
end

return M
