--- tidepool.shutdown_on: signals that end the process once its work with the database is done.
-- @module tidepool.shutdown
local core = require "tidepool.core"
local failure = require "tidepool.failure"

local M = {}

local DRAIN_MS = 30000

local function check(signals)
    if type(signals) ~= "table" then
        failure.misuse("a list of signals expected, got %s", type(signals))
    end
    for key in pairs(signals) do
        if key ~= "drain_ms" and type(key) ~= "number" then
            failure.misuse("shutdown_on: unknown option '%s' (known: drain_ms)", tostring(key))
        end
    end
    local ms = signals.drain_ms
    if ms ~= nil and (type(ms) ~= "number" or ms < 0 or ms > 2^31 - 1) then
        failure.misuse("shutdown_on: drain_ms must be milliseconds")
    elseif #signals == 0 then
        failure.misuse("shutdown_on: no signal is named")
    end
end

--- From now on each of these signals has every database take no new work, waits until what is borrowed has come back,
-- and ends the process as the signal does by itself; the second one ends it at once.
-- @param signals a list of names ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"), and drain_ms, the longest time to wait
-- @return true; or nil and an error where the signal has a handler already, and in nginx
function M.on(signals)
    check(signals)
    if rawget(_G, "ngx") then
        return nil, failure.new("validation", "nginx has handlers for its signals, and its workers close their pools")
    end
    return core.shutdown_on(signals.drain_ms or DRAIN_MS, signals)
end

return M
