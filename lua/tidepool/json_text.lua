--- JSON for lines of a log: valid whatever bytes there are, which no encoder of data may be.
-- @module tidepool.json_text
local core = require "tidepool.core"

local M = {}

local escapes = {
    ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}

local function escape(char)
    return escapes[char] or ("\\u%04x"):format(char:byte())
end

-- The length of the character at `at`, or nil where there is none: RFC 3629.
local function character(text, at)
    local first, second = text:byte(at, at + 1)
    local length = first < 0xC2 and 0 or first < 0xE0 and 2 or first < 0xF0 and 3 or first < 0xF5 and 4 or 0
    if length == 0 or not text:find("^" .. ("[\128-\191]"):rep(length - 1), at + 1) then
        return nil
    elseif first == 0xE0 and second < 0xA0 or first == 0xED and second > 0x9F
        or first == 0xF0 and second < 0x90 or first == 0xF4 and second > 0x8F then
        return nil
    end
    return length
end

-- Bytes past ASCII, with U+FFFD for each that is no UTF-8.
local function clean(run)
    local out, at = {}, 1
    while at <= #run do
        local length = character(run, at)
        out[#out + 1] = length and run:sub(at, at + length - 1) or "\239\191\189"
        at = at + (length or 1)
    end
    return table.concat(out)
end

local function string_of(text)
    text = text:gsub('[%c"\\\127]', escape):gsub("[\128-\255]+", clean)
    return '"' .. text .. '"'
end

--- A string.
M.string = string_of

local function number_of(value)
    if value ~= value or value == math.huge or value == -math.huge then
        return string_of(tostring(value))
    end
    return value % 1 == 0 and math.abs(value) < 2 ^ 53 and ("%d"):format(value) or ("%.14g"):format(value)
end

local function table_of(value)
    local parts = {}
    if #value > 0 or next(value) == nil then
        for i = 1, #value do
            parts[i] = M.encode(value[i])
        end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for name in pairs(value) do
        parts[#parts + 1] = tostring(name)
    end
    table.sort(parts)
    for i, name in ipairs(parts) do
        parts[i] = M.pair(name, value[name])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

--- A value as JSON: lists and tables with names that have neither cycles nor other keys than text, numbers, booleans,
-- null; of anything else what tostring says.
function M.encode(value)
    local kind = type(value)
    if value == nil or value == core.null then
        return "null"
    elseif kind == "number" then
        return number_of(value)
    elseif kind == "boolean" then
        return tostring(value)
    elseif kind == "table" and getmetatable(value) == nil then
        return table_of(value)
    end
    return string_of(tostring(value))
end

--- A member of an object.
function M.pair(name, value)
    return string_of(name) .. ":" .. M.encode(value)
end

return M
