--- What specs need and not every Lua has, so that they run on Lua 5.1, 5.2, 5.3, 5.4 and LuaJIT.
local M = {}

--- "lua5.1", "luajit", ...
M.name = rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", "")

--- Whether a loop that is left closes the fourth of its values.
M.closes_loops = _VERSION >= "Lua 5.4"

--- Minus zero, for which Lua 5.1 has no constant.
M.minus_zero = tonumber "-0.0"

--- Whether there are integers, and not only doubles.
M.has_integers = math.type ~= nil

--- math.type; where numbers are doubles all are of type "number".
M.math_type = math.type or type

--- What math_type says of 5 and of 5.5.
M.INTEGER = M.math_type(5)
M.FLOAT = M.math_type(5.5)

--- The int8 that these are the digits of, as tidepool gives it: the same digits where it is past 2^53 (which itself
--- will not do) and all numbers are doubles.
function M.int8(digits)
    local number = tonumber(digits)
    return not M.has_integers and math.abs(number) >= 2 ^ 53 and digits or number
end
M.maxinteger = M.int8 "9223372036854775807"
M.mininteger = M.int8 "-9223372036854775808"

--- The greatest int8 as a number, as near as there is one.
M.maxinteger_number = math.maxinteger or 2 ^ 63

--- The greatest number that is finite.
M.maxnumber = (2 - 2 ^ -52) * 2 ^ 1023

M.tointeger = math.tointeger or function(value)
    return type(value) == "number" and value % 1 == 0 and value or nil
end

M.pack = table.pack or function(...)
    return { n = select("#", ...), ... }
end

M.unpack = table.unpack or unpack

local function utf8_of(code)
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

--- The UTF-8 of characters by their numbers.
function M.utf8(...)
    local texts = {}
    for i, code in ipairs { ... } do
        texts[i] = utf8_of(code)
    end
    return table.concat(texts)
end

--- How many characters a text has.
function M.utf8_len(text)
    return select(2, text:gsub("[^\128-\191]", ""))
end

--- Runs the metamethod __close.
function M.close(value)
    getmetatable(value).__close(value)
end

--- The assert of Lua, or what tidepool has for it: busted's own takes longer, and makes a text of an error.
M.assert = require("tidepool").assert

--- Pairs of what has the metamethod __pairs, which Lua 5.1 and LuaJIT do not know.
function M.pairs(value)
    local meta = getmetatable(value)
    return (meta and meta.__pairs or pairs)(value)
end

--- ipairs by indexing, as Lua 5.3 and later have it.
function M.ipairs(value)
    return function(_, i)
        local element = value[i + 1]
        if element ~= nil then
            return i + 1, element
        end
    end, value, 0
end

--- Defines tests on Lua 5.4 only, elsewhere says why not.
function M.only_5_4(reason, define)
    if _VERSION >= "Lua 5.4" then
        define()
    else
        print(("some of the tests are not run on %s: %s"):format(M.name, reason))
    end
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
