--- Comparing values more strictly than luassert does, and saying where they differ.
local portable = require "spec.support.portable"

local M = {}

local function same_number(a, b)
    if portable.math_type(a) ~= portable.math_type(b) then
        return false
    end
    if a ~= a or b ~= b then
        return a ~= a and b ~= b
    end
    return a == b and (a ~= 0 or 1 / a == 1 / b)
end

local function same_table(a, b, path)
    for key, value in pairs(a) do
        local same, where = M.same(value, b[key], ("%s[%q]"):format(path, key))
        if not same then
            return false, where
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false, ("%s[%q]: nothing here, and %s there"):format(path, key, tostring(b[key]))
        end
    end
    return true
end

--- Whether two values are the same to the last bit: integers are no floats, -0.0 is not 0.0, NaN is NaN. Returns false
--- and where they differ.
function M.same(a, b, path)
    path = path or "value"
    if type(a) == "table" and type(b) == "table" then
        return same_table(a, b, path)
    end
    if type(a) == "number" and type(b) == "number" and same_number(a, b) or type(a) ~= "number" and a == b then
        return true
    end
    return false, ("%s: %s here, %s there"):format(path, M.show(a), M.show(b))
end

--- A value for a message.
function M.show(value)
    if type(value) == "string" then
        return ("%q"):format(#value > 200 and value:sub(1, 200) .. "..." or value)
    elseif type(value) == "number" then
        local kind = portable.math_type(value)
        return kind .. " " .. (kind == "integer" and value or ("%.17g"):format(value))
    elseif type(value) ~= "table" then
        return tostring(value)
    end
    local parts = {}
    for key, part in pairs(value) do
        parts[#parts + 1] = ("[%s] = %s"):format(tostring(key), M.show(part))
    end
    return "{" .. table.concat(parts, ", ") .. "}"
end

return M
