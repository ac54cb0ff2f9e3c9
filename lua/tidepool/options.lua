--- The options of tidepool.open as the core takes them: names with dots, values as text.
-- Which names there are is known to the core's option table alone.
-- @module tidepool.options
local failure = require "tidepool.failure"

local M = {}

local function text_of(name, value)
    if type(value) == "number" and value % 1 == 0 and math.abs(value) < 2^53 then
        return ("%d"):format(value)
    elseif type(value) == "string" or type(value) == "number" or type(value) == "boolean" then
        return tostring(value)
    end
    failure.misuse("option '%s' cannot be a %s", name, type(value))
end

local function flatten_into(out, prefix, from)
    for key, value in pairs(from) do
        if type(key) ~= "string" then
            failure.misuse("options have names, got a %s as a key (a URL is named, too: url = \"postgresql://...\")",
                type(key))
        end
        local name = prefix .. key
        if type(value) == "table" and prefix == "" then
            flatten_into(out, name .. ".", value)
        else
            out[name] = text_of(name, value)
        end
    end
end

-- A copy without the options that are no text: log.sink, a function; await, a name or a table; and password when it is
-- a function.
local function without_values(where, values)
    local copy = {}
    for key, value in pairs(where) do copy[key] = value end
    values.await = where.await
    copy.await = nil
    if type(where.password) == "function" then
        values.password = where.password
        copy.password = nil
    end
    local sink = type(where.log) == "table" and where.log.sink or nil
    if sink == nil or type(sink) == "string" then
        return copy
    elseif type(sink) ~= "function" then
        failure.misuse("option 'log.sink' must be a function, \"stderr\" or \"ngx\"")
    end
    values.sink = where.log.sink
    copy.log = {}
    for key, value in pairs(where.log) do copy.log[key] = value end
    copy.log.sink = nil
    return copy
end

--- @param where what tidepool.open was given
-- @return url or nil, {name = text}, {sink = function, await = name or adapter, password = function: or nil}
function M.flatten(where)
    local out, values = {}, {}
    if where == nil then
        return nil, out, values
    elseif type(where) == "string" then
        return where, out, values
    elseif type(where) ~= "table" then
        failure.misuse("a URL or a table of options expected, got %s", type(where))
    end
    flatten_into(out, "", without_values(where, values))
    local url = out.url
    out.url = nil
    return url, out, values
end

return M
