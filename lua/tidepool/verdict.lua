--- What became of a transaction whose COMMIT was sent and whose answer never came.
--
-- Before COMMIT the connection knows the transaction's id (core/src/conn_xact.c). Another connection of the pool asks
-- the server for its state. While it is in progress the session that was lost may still be at it, or wait for a
-- COMMIT that will never arrive: it is told to end, and only that session, which is known by the id.
-- @module tidepool.verdict
local core = require "tidepool.core"

local M = {}

-- A standby does not know of all transactions of its primary yet.
local STATE = [[
    select case when pg_catalog.pg_is_in_recovery() then 'standby'
        else coalesce(pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8), 'forgotten') end as state,
        extract(epoch from pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::pg_catalog.text as epoch]]

local END = [[
    select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
    where pid = $1::int and backend_xid::pg_catalog.text::bigint = ($2::pg_catalog.text::bigint % 4294967296)]]

-- After how long a transaction in progress is no longer expected to end by itself.
local PATIENCE_MS = 100

-- The server does not know the id: it was given by one that had not written it down when it crashed.
local INVALID_PARAMETER = "22023"

local function state_of(db, id, timeout_ms)
    local row, err = db:one({ STATE, timeout_ms = timeout_ms, idempotent = true }, id)
    if row then
        return row.state, row.epoch
    elseif err and err.code == INVALID_PARAMETER then
        return "aborted"
    elseif err and err.kind == "busy" and err.message:find("max_waiting", 1, true) then
        return nil -- too many wait, for now
    elseif err and (err.kind == "pool_closed" or err.kind == "busy") then
        return "forgotten"
    end
    return nil -- no connection, for now
end

--- Asks until there is an answer, at most for retry.verdict_ms.
-- @param db the database
-- @param xact "ID EPOCH", of connection:_xact()
-- @param pid of the session that was lost
-- @return "committed", "aborted" or "unknown"
function M.find(db, xact, pid)
    local id, epoch = xact:match "^(%d+) (.+)$"
    local began, pause_ms, told = core.now(), 5, false
    local left = tonumber(db:option "retry.verdict_ms")
    local deadline = began + left
    while left > 0 do
        local state, epoch_now = state_of(db, id, left)
        if state == "aborted" then
            return state
        elseif state == "committed" then -- after a crash it may be the id of another one
            return epoch_now == epoch and state or "unknown"
        elseif state == "forgotten" then
            return "unknown"
        elseif state == "in progress" and not told and core.now() - began >= PATIENCE_MS then
            told = db:query({ END, timeout_ms = left, idempotent = true }, pid, id) ~= nil
        end
        db:_pause(math.min(pause_ms, math.max(deadline - core.now(), 0)))
        pause_ms = math.min(pause_ms * 2, 100)
        left = deadline - core.now()
    end
    return "unknown"
end

return M
