--- db:on: functions that hear of what happens in a pool.
--
-- What the housekeeper sees is kept in a bounded queue and told at the next call of the
-- program, on the program's own thread. A handler that raises an error is reported to the
-- log and called again the next time.
-- @module tidepool.events
local failure = require "tidepool.failure"
local sorted_keys = require "tidepool.sorted_keys"

local M = { methods = {} }

local names = {
    connect = true,  -- a connection was made
    remove = true,   -- a connection was closed; message has the reason
    error = true,    -- a connection could not be made
    retry = true,    -- a statement or a transaction is repeated; message has the reason
    state = true,    -- the pool's state has changed; message has the new one
    notice = true,   -- the server sent a notice
    rollback = true, -- a connection came back in an open transaction
    leak = true,     -- a connection was lost without being released; message has where it was acquired
    held = true,     -- a connection is on loan for longer than pool.leak_after_ms; message has by whom
    returned = true, -- such a connection came back; message has after how long
    idle_in_transaction = true, -- one on loan is idle in a transaction, which the server will end
    tls_expiring = true, -- a certificate ends soon; told once a day
    tls_reload = true, -- files of certificates have changed; message tells whether they are used
    breaker = true,  -- calls fail fast from now on ("open"), or wait again ("closed")
    gap = true,      -- listeners may have missed notifications; message has the reason
    overflow = true, -- events were dropped since nobody took them; message has how many
    verdict = true,  -- what became of a COMMIT whose connection was lost: {verdict =, xid =}
    query_start = true, -- a query begins: {sql =, parameters =, tags =, span =}
    query_end = true, -- it has ended: the same table, with duration_ms, rows, command and error
    slow = true,     -- it took log.slow_ms: {sql =, parameters =, duration_ms =, rows =, place =, error =}
    acquire = true,  -- a connection was lent: {wait_ms =, backend_pid =}
    release = true,  -- and came back: {held_ms =, backend_pid =}
    repeats = true,  -- one statement was made again and again: {sql =, count =, place =}
}

--- Calls the handlers of an event.
-- @param state the state table of a database
-- @param name the event's name
-- @param event the table that the handlers get
function M.emit(state, name, event)
    local handlers = state.handlers and state.handlers[name]
    if not handlers then
        return
    end
    for _, entry in ipairs(handlers) do
        local ok, err = pcall(entry.handler, event)
        if not ok and state.logger then
            state.logger:write("error", "an event handler failed", { event = name, error = tostring(err) })
        end
    end
end

local function is_heard(state, name)
    local handlers = state.handlers and state.handlers[name]
    return handlers ~= nil and #handlers > 0
end

--- Has the core tell what somebody wants to hear of, and nothing else.
function M.watch(db, state)
    local watched = state.watched
    db:_watch("queries", watched.queries or state.explaining ~= nil or is_heard(state, "query_end")
        or watched.tasks and (state.blocks or 0) > 0)
    db:_watch("tasks", watched.tasks)
    db:_watch("starts", watched.starts or is_heard(state, "query_start"))
    db:_watch("leases", is_heard(state, "acquire") or is_heard(state, "release"))
end

--- db:on(event, handler): hears of an event.
-- @return a function that ends it
function M.methods.on(db, name, handler)
    if not names[name] then
        failure.misuse("unknown event '%s' (known: %s)", tostring(name), table.concat(sorted_keys(names), ", "))
    elseif type(handler) ~= "function" then
        failure.misuse("an event handler must be a function, got %s", type(handler))
    end
    local state = db:_state()
    state.handlers = state.handlers or {}
    local list = {}
    for i, known in ipairs(state.handlers[name] or {}) do list[i] = known end
    local entry = { handler = handler }
    list[#list + 1] = entry
    state.handlers[name] = list
    M.watch(db, state)
    return function()
        local rest = {}
        for _, known in ipairs(state.handlers[name]) do
            if known ~= entry then
                rest[#rest + 1] = known
            end
        end
        state.handlers[name] = rest
        M.watch(db, state)
    end
end

return M
