--- Tags of statements: a comment behind the text that says whose it is (a trace, a route), in the way
-- of sqlcommenter, and the name of the session while it runs. pg_stat_activity, the server's log
-- and what reads them show both.
-- @module tidepool.tags
local core = require "tidepool.core"

local M = {}

-- A comment is a part of each statement's text, so it is bounded.
local BYTES_AT_MOST = 4096

-- Nothing is left that could end the comment or its quotes.
local function encode(text)
    return (text:gsub("[^%w%-%._~]", function(char) return ("%%%02X"):format(char:byte()) end))
end

--- The comment of some tags: keys in their order, values as in a URL.
-- @param tags {traceparent = "00-...", route = "/x"}: values are strings, numbers or booleans
-- @return the comment, or nil where there are none; nil and what is wrong with them
function M.comment(tags)
    if type(tags) ~= "table" then
        return nil, ("option 'tags' must be a table, got a %s"):format(type(tags))
    end
    local parts = {}
    for name, value in pairs(tags) do
        local kind = type(value)
        if type(name) ~= "string" or name == "" then
            return nil, "option 'tags' must have names"
        elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
            return nil, ("option 'tags': '%s' cannot be a %s"):format(name, kind)
        end
        parts[#parts + 1] = ("%s='%s'"):format(encode(name), encode(tostring(value)))
    end
    if #parts == 0 then
        return nil
    end
    table.sort(parts)
    local comment = "/*" .. table.concat(parts, ",") .. "*/"
    if #comment > BYTES_AT_MOST then
        return nil, ("option 'tags': %d bytes are more than the %d there can be"):format(#comment, BYTES_AT_MOST)
    end
    return comment
end

--- Checks the options tags and application_name of a block.
-- @return nil, or what is wrong with them
function M.check(options)
    if options.application_name ~= nil and type(options.application_name) ~= "string" then
        return "option 'application_name' must be a string"
    end
    return options.tags ~= nil and select(2, M.comment(options.tags)) or nil
end

--- Marks all that a connection does from now on; nil ends that.
-- @return what M.restore takes to have it as it was
function M.apply(db, connection, options)
    if not options or options.tags == nil and options.application_name == nil then
        return nil
    end
    local state = db:_state()
    local comment = options.tags and M.comment(options.tags)
    local key = connection:_mark(comment, options.application_name)
    state.marks = state.marks or {}
    local before = state.marks[key]
    -- The core borrows both texts of this table.
    state.marks[key] = { comment = comment, name = options.application_name, tags = options.tags }
    return { state = state, key = key, before = before }
end

function M.restore(connection, applied)
    if not applied then
        return
    end
    local before = applied.before
    connection:_mark(before and before.comment, before and before.name)
    applied.state.marks[applied.key] = before
end

--- The tags of a block, by the key of its connection.
function M.of(state, key)
    local mark = key and state.marks and state.marks[key]
    return mark and mark.tags
end

core.set_tags(M.comment)

return M
