--- db:with: a connection for as long as a function runs.
-- @module tidepool.scope
local compat = require "tidepool.compat"

local M = { methods = {} }

local function finish(conn, ok, ...)
    if not conn:is_released() then
        conn:release()
    end
    if ok then
        return ...
    end
    error((...), 0)
end

--- db:with(fn, timeout_ms): calls fn(connection) and releases the connection afterwards,
-- whatever happens.
-- @return what fn returns; nil and an error when no connection could be had. An error
-- raised by fn is raised again.
function M.methods.with(db, fn, timeout_ms)
    if type(fn) ~= "function" then
        error("a function expected", 2)
    end
    local conn, err = db:acquire(timeout_ms)
    if not conn then
        return nil, err
    end
    return finish(conn, compat.pcall(fn, conn))
end

return M
