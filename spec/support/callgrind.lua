--- Instructions of Lua programs, by where they are executed, counted by valgrind's callgrind.
local server = require "spec.support.server"

local M = {}

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

--- Why nothing can be counted here, or nil.
function M.absent()
    if select(2, server.sh "command -v valgrind") ~= 0 then
        return "there is no valgrind"
    elseif select(2, server.sh("valgrind --tool=callgrind --callgrind-out-file=/dev/null true")) ~= 0 then
        return "valgrind does not run here"
    end
end

--- The instructions of each object file, by its name without folders, from the text of callgrind's output: the costs
--- of lines, without those of calls, which are what the called functions have cost in total.
--- Source: valgrind's manual, "Callgrind Format Specification".
local function instructions_of(path)
    local names, sums, object, skip, sum, total = {}, {}, "?", false, 0, nil
    for line in io.lines(path) do
        local id, name = line:match "^ob=(%(%d+%)) ?(.*)$"
        if not id then
            id, name = line:match "^cob=(%(%d+%)) ?(.*)$"
            if id and name ~= "" then names[id] = name:match "[^/]*$" end
            if line:find "^calls=" then
                skip = true
            elseif line:find "^[%d+*-]" then
                local cost = line:match "^%S+ (%d+)"
                if cost and not skip then
                    sums[object] = (sums[object] or 0) + tonumber(cost)
                    sum = sum + tonumber(cost)
                end
                skip = false
            else
                total = tonumber(line:match "^totals: (%d+)") or total
            end
        else
            if name ~= "" then names[id] = name:match "[^/]*$" end
            object = names[id]
        end
    end
    assert(sum == total, "callgrind's output was not understood")
    return sums
end

local function count(environment, words)
    local out = os.tmpname()
    local command = { "exec env" }
    for name, value in pairs(environment) do
        command[#command + 1] = quote(name .. "=" .. value)
    end
    command[#command + 1] = "valgrind --tool=callgrind --callgrind-out-file=" .. quote(out)
    command[#command + 1] = quote(os.getenv "LUA" or "lua5.4")
    for _, word in ipairs(words) do
        command[#command + 1] = quote(word)
    end
    local output, code = server.sh(table.concat(command, " "))
    local ok, sums = pcall(instructions_of, out)
    os.remove(out)
    assert(code == 0, output)
    assert(ok, sums)
    return sums
end

-- The names of what is of interest, by what object files are called.
local PARTS = {
    { "core", "^core%.so" }, { "libpq", "^libpq%.so" }, { "Lua", "^lua" }, { "Lua", "^liblua" },
    { "libc", "^libc%.so" },
}

--- Instructions for one of what a program does as often as its last argument says: it is run twice, with few and with
--- many, and the difference is what they cost. Returns how many in each of core, libpq, Lua, libc and others.
-- @param words the script and its arguments but for the last one
-- @param[opt] environment variables for it
function M.per_operation(words, few, many, environment)
    local counts = {}
    for i, amount in ipairs { few, many } do
        local list = {}
        for n, word in ipairs(words) do list[n] = word end
        list[#list + 1] = amount
        counts[i] = count(environment or {}, list)
    end
    local result = { core = 0, libpq = 0, Lua = 0, libc = 0, others = 0 }
    for object, sum in pairs(counts[2]) do
        local part = "others"
        for _, known in ipairs(PARTS) do
            if object:find(known[2]) then part = known[1] end
        end
        result[part] = result[part] + (sum - (counts[1][object] or 0)) / (many - few)
    end
    return result
end

return M
