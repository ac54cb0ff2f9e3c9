--- db:blockers: which backends of the server wait for locks, and of whom.
-- @module tidepool.blockers
local core = require "tidepool.core"

local M = { methods = {} }

--- Asks the server.
-- @param timeout_ms how long it may take, waiting for a connection included; nil: as long as any query
-- @return as db:blockers()
function M.ask(db, timeout_ms)
    local rows, err = db:query { core.blocked_sql, idempotent = true, timeout_ms = timeout_ms }
    if not rows then
        return nil, err
    end
    local list, of_pid = {}, {}
    for _, row in ipairs(rows) do
        local entry = of_pid[row.pid]
        if not entry then
            entry = { pid = row.pid, blocked_by = {}, query = row.query, wait_ms = row.wait_ms, state = row.state }
            of_pid[row.pid] = entry
            list[#list + 1] = entry
        end
        entry.blocked_by[#entry.blocked_by + 1] = row.by
    end
    return list
end

--- db:blockers(): asks the server.
-- @return a list of {pid =, blocked_by = {pids}, query =, wait_ms =, state =}, those that wait the longest first, or
-- nil and an error. Of texts only what comes before the first text constant is shown, and nothing of other roles'.
function M.methods.blockers(db)
    return M.ask(db)
end

return M
