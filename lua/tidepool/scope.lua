--- db:with: a connection for as long as a function runs; and deadlines of blocks.
-- @module tidepool.scope
local core = require "tidepool.core"
local failure = require "tidepool.failure"
local repeats = require "tidepool.repeats"
local tags = require "tidepool.tags"

local M = { methods = {} }

--- When a block of `ms` has to be over, by core.now(); nil for one without a limit.
function M.deadline_in(ms)
    return ms and core.now() + ms
end

--- How long to wait for a connection: no longer than until the deadline.
-- @param timeout_ms as the program says it, or nil
function M.patience(db, timeout_ms, deadline)
    if not deadline then
        return timeout_ms
    end
    local own = timeout_ms or tonumber(db:option "pool.acquire_timeout_ms")
    return math.max(0, math.min(own, deadline - core.now()))
end

--- Gives a connection a deadline besides the one that it may have.
-- @return what it was, for connection:_until; and what it is now
function M.restrict(connection, deadline)
    local before = connection:_until(deadline)
    if not deadline or before and before < deadline then
        connection:_until(before)
        return before, before
    end
    return before, deadline
end

--- Whether a deadline has passed: nil, or an error.
function M.check(deadline)
    if deadline and core.now() >= deadline then
        return failure.new("timeout", "the block's deadline_ms has passed")
    end
    return nil
end

local function finish(conn, applied, ok, ...)
    tags.restore(conn, applied)
    if not conn:is_released() then
        conn:release()
    end
    if ok then
        return ...
    end
    error((...), 0)
end

local function read_options(options)
    if type(options) ~= "table" then
        return options, nil
    end
    for name, value in pairs(options) do
        if name ~= "timeout_ms" and name ~= "deadline_ms" and name ~= "tags" and name ~= "application_name" then
            failure.misuse("unknown option '%s' of a block (known: timeout_ms, deadline_ms, tags, application_name)",
                tostring(name))
        elseif name:find "_ms$" and (type(value) ~= "number" or value < 0) then
            failure.misuse("option %s must be milliseconds", name)
        end
    end
    local problem = tags.check(options)
    if problem then
        failure.misuse("%s", problem)
    end
    return options.timeout_ms, M.deadline_in(options.deadline_ms), options
end

--- db:with(fn, options): calls fn(connection) and releases the connection afterwards,
-- whatever happens.
-- @param options timeout_ms: how long to wait for a connection (a number means that); deadline_ms: how long the whole
-- may take, after which every statement fails with a timeout; tags and application_name: of all statements within
-- @return what fn returns; nil and an error when no connection could be had. An error
-- raised by fn is raised again.
function M.methods.with(db, fn, options)
    if type(fn) ~= "function" then
        failure.misuse("a function expected, got %s", type(fn))
    end
    local timeout_ms, deadline, marks = read_options(options)
    local conn, err = db:acquire(M.patience(db, timeout_ms, deadline))
    if not conn then
        return nil, err
    end
    conn:_until(deadline)
    return finish(conn, tags.apply(db, conn, marks), repeats.pcall(db, fn, conn))
end

return M
