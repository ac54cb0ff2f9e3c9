--- What specs need and not every Lua has, so that they run on Lua 5.1, 5.2, 5.3, 5.4 and LuaJIT.
local M = {}

--- "lua5.1", "luajit", ...
M.name = rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", "")

--- Whether a loop that is left closes the fourth of its values.
M.closes_loops = _VERSION >= "Lua 5.4"

--- Whether there are integers, and not only doubles.
M.has_integers = math.type ~= nil

--- math.type; where numbers are doubles all are of type "number".
M.math_type = math.type or type

--- The greatest and the least int8: the digits where they are no numbers.
M.maxinteger = math.maxinteger or "9223372036854775807"
M.mininteger = math.mininteger or "-9223372036854775808"

M.tointeger = math.tointeger or function(value)
    return type(value) == "number" and value % 1 == 0 and value or nil
end

M.pack = table.pack or function(...)
    return { n = select("#", ...), ... }
end

M.unpack = table.unpack or unpack

--- Loads the text of a chunk, with an environment if there is one.
function M.load(text, name, environment)
    if not rawget(_G, "setfenv") then
        return load(text, name, "t", environment or _G)
    end
    local chunk, err = loadstring(text, name)
    return chunk and environment and setfenv(chunk, environment) or chunk, err
end

--- The UTF-8 of a character by its number.
function M.utf8_char(code)
    if code < 0x80 then
        return string.char(code)
    end
    local tail, first = {}, code
    local lead, room = 0xC0, 0x20 -- what marks the first byte, and how many values it has room for
    repeat
        table.insert(tail, 1, string.char(0x80 + first % 0x40))
        first = math.floor(first / 0x40)
        local enough = first < room
        if not enough then
            lead, room = lead + room, room / 2
        end
    until enough
    return string.char(lead + first) .. table.concat(tail)
end

--- How many characters a text has.
function M.utf8_len(text)
    return select(2, text:gsub("[^\128-\191]", ""))
end

--- Runs the metamethod __close.
function M.close(value)
    getmetatable(value).__close(value)
end

local open = {}

--- Has the first of the values closed at the end of the test, the one that came last before the others, and returns
--- them all: `local db = closing(open())` is for every Lua what `local db <close> = open()` is for Lua 5.4.
function M.closing(value, ...)
    open[#open + 1] = value
    return value, ...
end

require("busted").subscribe({ "test", "end" }, function()
    while #open > 0 do
        M.close(table.remove(open))
    end
    return nil, true
end)

return M
