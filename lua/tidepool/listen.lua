--- db:listen and db:notify: PostgreSQL's LISTEN and NOTIFY.
--
-- All listeners of a pool hear by one connection, which the housekeeper keeps; see core/src/listen.h. What comes waits
-- in a queue of each listener until it is taken.
-- @module tidepool.listen
local core = require "tidepool.core"
local failure = require "tidepool.failure"

local M = { db_methods = {}, connection_methods = {}, listener_methods = {} }

local LIMIT = 10000
local CHANNEL_BYTES, PAYLOAD_BYTES = 63, 7999

-- ------------------------------------------------------------------ listening

local overflows = { gap = true, oldest = true, newest = true }

-- Of each option: whether a value will do, and what is said of another.
local checks = {
    limit = {
        function(value) return type(value) == "number" and value >= 1 and value <= 1e9 and value % 1 == 0 end,
        "must be a positive count",
    },
    overflow = {
        function(value) return overflows[value] == true end,
        'must be "gap", "oldest" or "newest"',
    },
    timeout_ms = {
        function(value) return type(value) == "number" and value >= 0 end,
        "must be milliseconds",
    },
}

local function check_options(options)
    if options == nil then
        return {}
    elseif type(options) ~= "table" then
        failure.misuse("a table of options expected, got %s", type(options))
    end
    for name, value in pairs(options) do
        local rule = checks[name]
        if not rule then
            failure.misuse("unknown option '%s' of listen (known: limit, overflow, timeout_ms)", tostring(name))
        elseif not rule[1](value) then
            failure.misuse("option %s %s", name, rule[2])
        end
    end
    return options
end

local function check_channels(channels)
    if type(channels) == "string" then
        return { channels }
    elseif type(channels) ~= "table" or #channels == 0 then
        failure.misuse("the name of a channel or a list of them expected")
    end
    for _, channel in ipairs(channels) do
        if type(channel) ~= "string" then
            failure.misuse("the name of a channel must be a string, got %s", type(channel))
        end
    end
    return channels
end

--- db:listen(channels, options): hears of what is sent to these channels from now on. Waits until the server listens.
-- @param channels a name or a list of names, as they are (unquoted; "Orders" is not "orders")
-- @param[opt] options limit: how many notifications may wait (10000); overflow: what becomes of more: "gap" (all are
-- dropped), "oldest" or "newest"; timeout_ms: how long to wait for the server
-- @return a listener; or nil and an error
function M.db_methods.listen(db, channels, options)
    local list = check_channels(channels)
    local said = check_options(options)
    return db:_listen(list, said.limit or LIMIT, said.overflow or "gap", said.timeout_ms)
end

-- --------------------------------------------------------------------- sending

local function is_text(value)
    return type(value) == "string" or type(value) == "number"
end

--- db:notify(channel, payload), also of connections and transactions: sends a notification; in a transaction when it
-- is committed.
-- @param channel at most 63 bytes
-- @param[opt] payload a string of less than 8000 bytes, or a number
-- @return true; or nil and an error
function M.notify(target, channel, payload)
    if type(channel) ~= "string" then
        failure.misuse("the name of a channel must be a string, got %s", type(channel))
    elseif payload ~= nil and not is_text(payload) then
        failure.misuse("a payload must be a string, got %s", type(payload))
    end
    local text = payload == nil and "" or tostring(payload)
    if channel == "" or #channel > CHANNEL_BYTES then
        return nil, failure.new("validation",
            ("the name of a channel has %d bytes; it can have 1 to %d"):format(#channel, CHANNEL_BYTES))
    elseif #text > PAYLOAD_BYTES then
        return nil, failure.new("validation",
            ("the payload has %d bytes; PostgreSQL takes %d at most"):format(#text, PAYLOAD_BYTES))
    end
    local sent, err = target:exec("select pg_catalog.pg_notify($1, $2)", channel, text)
    if not sent then
        return nil, err
    end
    return true
end

M.db_methods.notify = M.notify
M.connection_methods.notify = M.notify

-- ---------------------------------------------------------------------- hearing

-- The next one; nil when the listener is closed. Other failures are raised.
local function next_of(listener)
    local note, err = listener:next()
    if not note and not listener:is_closed() then
        error(err, 0)
    end
    return note
end

--- listener:each(): for a generic for, until the listener or its pool is closed. In Lua 5.1 an event loop cannot
-- suspend an iterator of a for: there, call it, or use run.
function M.listener_methods.each(listener)
    return function()
        return next_of(listener)
    end
end

--- listener:run(fn): calls fn(note) for each notification and gap, until fn returns false, or the listener or its pool
-- is closed.
-- @return true
function M.listener_methods.run(listener, fn)
    if type(fn) ~= "function" then
        failure.misuse("a function expected, got %s", type(fn))
    end
    local note
    repeat
        note = next_of(listener)
    until not note or fn(note) == false
    return true
end

--- Adds the methods to those of the core.
function M.install(extend)
    extend(core.db_methods, M.db_methods)
    extend(core.connection_methods, M.connection_methods)
    extend(core.listener_methods, M.listener_methods)
end

return M
