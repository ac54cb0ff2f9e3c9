--- JSON of what the commands print: reports, and rows as the server wrote them.
-- @module tidepool.cli.json
local json_text = require "tidepool.json_text"
local sorted_keys = require "tidepool.sorted_keys"

local M = {}

--- Stands for null in a report.
M.null = setmetatable({}, { __tostring = function() return "null" end })

M.string = json_text.string

local function number(value)
    if value ~= value or value == math.huge or value == -math.huge then
        return "null"
    elseif value % 1 == 0 and math.abs(value) < 2^53 then
        return ("%d"):format(value)
    end
    return ("%.10g"):format(value)
end

--- Any value; an empty table is an object unless M.list has marked it. Keys are sorted.
function M.encode(value)
    local kind = type(value)
    if kind == "string" then
        return M.string(value)
    elseif kind == "number" then
        return number(value)
    elseif kind ~= "table" or value == M.null then
        return kind == "boolean" and tostring(value) or "null"
    end
    local parts, is_list = {}, #value > 0 or getmetatable(value) == M
    for i, key in ipairs(is_list and value or sorted_keys(value)) do
        parts[i] = is_list and M.encode(key) or M.string(tostring(key)) .. ":" .. M.encode(value[key])
    end
    return (is_list and "[%s]" or "{%s}"):format(table.concat(parts, ","))
end

--- Marks a table as a list, so that an empty one is [].
function M.list(value)
    return setmetatable(value, M)
end

-- -------------------------------------------------------------------- cells

local numbers = { int2 = true, int4 = true, int8 = true, oid = true, float4 = true, float8 = true, numeric = true }
local verbatim = { json = true, jsonb = true }
local cell -- forward

-- An element of an array from `at` on: its JSON, and where it ends.
local function element(text, at, kind, delimiter)
    local first = text:sub(at, at)
    if first == "{" then
        local parts = {}
        at = at + 1
        while text:sub(at, at) ~= "}" do
            parts[#parts + 1], at = element(text, at, kind, delimiter)
            at = text:sub(at, at) == delimiter and at + 1 or at
        end
        return "[" .. table.concat(parts, ",") .. "]", at + 1
    elseif first == '"' then
        local stop = at
        repeat
            stop = text:find('["\\]', stop + 1)
            local escaped = text:sub(stop, stop) == "\\"
            stop = escaped and stop + 1 or stop
        until not escaped
        return cell(text:sub(at + 1, stop - 1):gsub("\\(.)", "%1"), kind), stop + 1
    end
    local stop = text:find("[" .. delimiter .. "}]", at)
    local word = text:sub(at, stop - 1)
    return word == "NULL" and "null" or cell(word, kind), stop
end

--- A cell as the server wrote it, by the name of its type: numbers, booleans, JSON and arrays of these are what they
-- are, all others strings.
function M.cell(text, kind)
    if text == nil then
        return "null"
    elseif numbers[kind] and text:find "^%-?%d" then
        return text
    elseif kind == "bool" then
        return text == "t" and "true" or "false"
    elseif verbatim[kind] then
        return text
    elseif kind:sub(1, 1) == "_" and text:find "^[%[{]" then
        return (element(text, text:find("{", 1, true), kind:sub(2), kind == "_box" and ";" or ","))
    end
    return M.string(text)
end
cell = M.cell

return M
