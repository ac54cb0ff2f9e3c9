--- The options of tidepool.open as the core takes them: names with dots, values as text.
-- Which names there are is known to the core's option table alone.
-- @module tidepool.options
local M = {}

local function text_of(name, value)
    if type(value) == "number" and value % 1 == 0 and math.abs(value) < 2^53 then
        return ("%d"):format(value)
    elseif type(value) == "string" or type(value) == "number" or type(value) == "boolean" then
        return tostring(value)
    end
    error(("option '%s' cannot be a %s"):format(name, type(value)), 4)
end

local function flatten_into(out, prefix, from)
    for key, value in pairs(from) do
        if type(key) ~= "string" then
            error(("options have names, got a %s as a key"):format(type(key)), 4)
        end
        local name = prefix .. key
        if type(value) == "table" and prefix == "" then
            flatten_into(out, name .. ".", value)
        else
            out[name] = text_of(name, value)
        end
    end
end

--- @param where what tidepool.open was given
-- @return url or nil, {name = text}, {sink = function or nil}
function M.flatten(where)
    local out, sinks = {}, {}
    if where == nil then
        return nil, out, sinks
    elseif type(where) == "string" then
        return where, out, sinks
    elseif type(where) ~= "table" then
        error(("a URL or a table of options expected, got %s"):format(type(where)), 3)
    end
    flatten_into(out, "", M.without_functions(where, sinks))
    local url = out.url
    out.url = nil
    return url, out, sinks
end

--- A copy without log.sink, the one option that is a function.
function M.without_functions(where, sinks)
    if type(where.log) ~= "table" or where.log.sink == nil then
        return where
    end
    if type(where.log.sink) ~= "function" then
        error("option 'log.sink' must be a function", 4)
    end
    sinks.sink = where.log.sink
    local copy, log = {}, {}
    for key, value in pairs(where) do copy[key] = value end
    for key, value in pairs(where.log) do log[key] = value end
    log.sink = nil
    copy.log = log
    return copy
end

return M
