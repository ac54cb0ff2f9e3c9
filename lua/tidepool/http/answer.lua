--- Answers of the HTTP handler: a status, headers with lower-case names, and a body.
-- @module tidepool.http.answer
local core = require "tidepool.core"

local M = {}

--- A moment as JSON has it: "2026-03-01T12:00:00.000Z".
-- @param seconds since 1970; nil: now
function M.timestamp(seconds)
    local ms = math.floor((seconds or core.time()) * 1000)
    return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. (".%03dZ"):format(ms % 1000)
end

--- Milliseconds to the microsecond.
function M.ms(value)
    return math.floor(value * 1000 + 0.5) / 1000
end

--- Any text. What these pages show is of the moment, so nothing may keep it.
-- @param more further headers, or nil
function M.text(status, kind, body, more)
    local headers = {
        ["content-type"] = kind, ["content-length"] = tostring(#body), ["cache-control"] = "no-store",
        ["x-content-type-options"] = "nosniff",
    }
    for name, value in pairs(more or {}) do
        headers[name] = value
    end
    return status, headers, body
end

--- A value as JSON.
function M.json(status, value, more)
    local body, err = core.json_encode(value)
    if not body then
        status, body = 500, core.json_encode { error = "the answer cannot be written as JSON: " .. err.message }
    end
    return M.text(status, "application/json; charset=utf-8", body .. "\n", more)
end

--- What a client did wrong, or what is not to be had.
function M.failure(status, message, more)
    return M.json(status, { error = message }, more)
end

return M
