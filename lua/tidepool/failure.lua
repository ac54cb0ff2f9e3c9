--- Errors that the Lua side makes itself, of the same kind as the core's.
-- @module tidepool.failure
local core = require "tidepool.core"

local M = {}

--- @param kind as in tidepool.h: "validation", "connection", "busy", ...
-- @param message what has happened
-- @return an error as calls return it behind nil
function M.new(kind, message)
    return setmetatable({ kind = kind, message = message, retryable = false, attempts = 0 }, core.error_meta)
end

--- Raises an error about how the program has called something: the message begins with the line that did, also where
-- it was a tail call or came through a loop.
-- @param message a format
function M.misuse(message, ...)
    local place = core.place()
    error((place and place .. ": " or "") .. message:format(...), 0)
end

--- Whether a value is an error of tidepool's.
function M.is(value)
    return getmetatable(value) == core.error_meta
end

return M
