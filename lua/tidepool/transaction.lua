--- Transactions: db:transaction(fn, options), connection:transaction, and savepoints by
-- nesting.
--
-- fn gets a transaction, which has the query methods of a connection. What fn returns is
-- returned after COMMIT. The transaction is rolled back when fn returns nil or false and an
-- error, and when it raises one: an error of tidepool's (assert(tx:query(...)) raises those)
-- comes back as nil, err; any other error is raised again after the rollback.
-- @module tidepool.transaction
local compat = require "tidepool.compat"
local core = require "tidepool.core"
local events = require "tidepool.events"
local failure = require "tidepool.failure"
local pipeline = require "tidepool.pipeline"
local repeats = require "tidepool.repeats"
local scope = require "tidepool.scope"
local tags = require "tidepool.tags"
local verdict = require "tidepool.verdict"

local M = { db_methods = {}, connection_methods = {} }

-- ------------------------------------------------------------------ options

local isolations = {
    ["serializable"] = "SERIALIZABLE",
    ["repeatable read"] = "REPEATABLE READ",
    ["read committed"] = "READ COMMITTED",
    ["read uncommitted"] = "READ UNCOMMITTED",
}

local function is_boolean(value)
    return type(value) == "boolean"
end

local function is_duration(value)
    return type(value) == "number" and value >= 0
end

-- Of each option: what its value is, and what is said of another.
local checks = {
    isolation = {
        function(value) return isolations[value] end,
        'must be "serializable", "repeatable read", "read committed" or "read uncommitted"',
    },
    read_only = { is_boolean, "must be a boolean" },
    deferrable = { is_boolean, "must be a boolean" },
    retries = {
        function(value) return type(value) == "number" and value >= 0 and value % 1 == 0 end,
        "must be a count",
    },
    retry = {
        function(value)
            for name, number in pairs(type(value) == "table" and value or { "" }) do
                if (name ~= "attempts" and name ~= "base_ms" and name ~= "max_ms")
                    or type(number) ~= "number" or number < 1 then
                    return false
                end
            end
            return true
        end,
        "must be a table with attempts, base_ms, max_ms",
    },
    timeout_ms = { is_duration, "must be milliseconds" },
    deadline_ms = { is_duration, "must be milliseconds" },
    tags = { function() return true end }, -- looked at with application_name
    application_name = { function() return true end },
}

-- Checks what a method was called with; what is wrong is its caller's mistake (level 3).
local function check_arguments(fn, options)
    if type(fn) ~= "function" then
        failure.misuse("a function expected, got %s", type(fn))
    elseif options == nil then
        return {}
    elseif type(options) ~= "table" then
        failure.misuse("a table of options expected, got %s", type(options))
    end
    for name, value in pairs(options) do
        local rule = checks[name]
        if not rule then
            failure.misuse("unknown option '%s' of a transaction (known: isolation, read_only, deferrable, "
                .. "retries, retry, timeout_ms, deadline_ms, tags, application_name)", tostring(name))
        elseif not rule[1](value) then
            failure.misuse("option %s %s", name, rule[2])
        end
    end
    local problem = tags.check(options)
    if problem then
        failure.misuse("%s", problem)
    end
    return options
end

local function begin_text(options)
    local words = { "BEGIN" }
    if options.isolation then
        words[#words + 1] = "ISOLATION LEVEL " .. isolations[options.isolation]
    end
    if options.read_only ~= nil then
        words[#words + 1] = options.read_only and "READ ONLY" or "READ WRITE"
    end
    if options.deferrable ~= nil then
        words[#words + 1] = options.deferrable and "DEFERRABLE" or "NOT DEFERRABLE"
    end
    return table.concat(words, " ")
end

-- -------------------------------------------------------------- transactions

local Transaction = { __name = "tidepool.transaction" }
Transaction.__index = Transaction

function Transaction:__tostring()
    return ("tidepool.transaction (%s)"):format(self.ended and "ended" or "open")
end

for _, name in ipairs {
    "query", "one", "value", "exec", "script", "query_many", "_pipeline", "copy_in", "copy_out", "notify",
} do
    Transaction[name] = function(self, ...)
        if self.ended then
            return nil, failure.new("validation", "the transaction has ended")
        end
        return self.connection[name](self.connection, ...)
    end
end

--- tx:pipeline(fn, options): as db:pipeline.
function Transaction:pipeline(fn, options)
    return pipeline.run(self, fn, options)
end

--- tx:each(sql, ...): as db:each; all its errors are raised.
function Transaction:each(...)
    if self.ended then
        error(failure.new("validation", "the transaction has ended"), 0)
    end
    return self.connection:each(...)
end

-- What became of fn: its results after a good end; otherwise how it failed.
local function outcome(ok, ...)
    local first, second = ...
    if not ok then
        return { raised = not failure.is(first), err = first }
    elseif not first and second ~= nil then
        return { refused = true, results = compat.pack(...), err = second }
    end
    return { results = compat.pack(...) }
end

local function results_of(done)
    return compat.unpack(done.results, 1, done.results.n)
end

-- Ends a failed block: what fn returned, nil and tidepool's error, or the same error again.
local function fail(done)
    if done.refused then
        return results_of(done)
    elseif done.raised then
        error(done.err, 0)
    end
    return nil, done.err
end

--- tx:transaction(fn): a transaction within, by a savepoint. Rolling back goes to the
-- savepoint; the outer transaction goes on.
function Transaction:transaction(fn, options)
    if type(fn) ~= "function" then
        failure.misuse("a function expected, got %s", type(fn))
    elseif options ~= nil then
        failure.misuse("a nested transaction has the options of the outer one")
    elseif self.ended then
        return nil, failure.new("validation", "the transaction has ended")
    end
    local connection = self.connection
    local name = ("tidepool_%d"):format(self.depth)
    local ok, err = connection:control("SAVEPOINT " .. name)
    if not ok then
        return nil, err
    end
    local whole = self.whole
    local inner = setmetatable({ connection = connection, depth = self.depth + 1, whole = whole }, Transaction)
    local done = outcome(compat.pcall(fn, inner))
    inner.ended = true
    if done.err == nil and not done.raised then
        ok, err = connection:control("RELEASE SAVEPOINT " .. name)
        if ok then
            return results_of(done)
        end
        done = { err = err }
    end
    ok, err = connection:control(("ROLLBACK TO SAVEPOINT %s; RELEASE SAVEPOINT %s"):format(name, name))
    local state = connection:transaction_state()
    if not ok then
        whole.spoilt = err
    end
    if not ok and not done.raised and state ~= "active" and state ~= "unknown" then
        return nil, err
    end
    return fail(done) -- where nothing more can be said on the connection, this says why
end

-- The id of the transaction, which the server tells with the statements that write. Behind COPY, scripts and pipelines
-- it has to be asked for; what goes wrong then does so before COMMIT.
local function identify(connection)
    local xact, unseen = connection:_xact()
    if not xact and unseen then
        local row, err = connection:one { core.xact_sql, as = "arrays" }
        if err then
            return nil, err
        end
        xact = row and row[1] and row[1] .. " " .. row[2]
    end
    return xact
end

-- COMMIT that comes back as ROLLBACK: a statement had failed and fn went on regardless.
-- Where no transaction is open any more, fn has ended it itself and the server would say
-- COMMIT to anything; where the connection is gone already, nothing was committed.
local function commit(connection)
    local state = connection:transaction_state()
    if state == "idle" then
        return nil, failure.new("validation", "the transaction was ended by a statement in it")
    elseif state == "inherited" then
        return nil, failure.new("validation", "the transaction is the parent process's, which may commit it")
    elseif state == "unknown" then
        return nil, failure.new("connection", "the connection was lost before COMMIT: the transaction was rolled back")
    end
    local xact, unidentified = identify(connection)
    if unidentified and state == "open" then
        return nil, unidentified
    end
    local pid = connection:backend_pid()
    local tag, err = connection:control("COMMIT")
    if tag == "COMMIT" then
        return true
    elseif tag then
        return nil, failure.new("database", "the transaction was rolled back: a statement in it had failed")
    elseif err.kind == "timeout" and connection:transaction_state() == "open" then
        return nil, err -- it was not sent
    elseif err.kind == "connection" or err.kind == "timeout" then
        err.kind = "commit_unknown"
        local sent = xact and { xact = xact, pid = pid, cause = err.message }
        err.message = "the connection was lost at COMMIT, which may have been carried out: " .. err.message
        err.retryable = false
        return nil, err, sent
    end
    return nil, err
end

-- Finds out what became of a COMMIT that was lost, on another connection. Returns what the block comes to.
local function settle(db, done)
    local sent, err = done.sent, done.err
    if not sent or err.kind ~= "commit_unknown" then
        return done
    end
    local found = verdict.find(db, sent.xact, sent.pid)
    err.verdict, err.xid = found, sent.xact:match "^%d+"
    local state = db:_state()
    local message = ("the connection was lost at COMMIT of transaction %s: %s"):format(err.xid, found)
    state.logger:write("warning", message, { event = "verdict" })
    events.emit(state, "verdict", {
        event = "verdict", message = message, time = os.time(), verdict = found, xid = err.xid,
    })
    if found == "committed" then
        return { results = done.results }
    elseif found == "aborted" then
        err.kind = "connection"
        err.message = "the connection was lost at COMMIT, and the transaction was rolled back: " .. sent.cause
        err.retryable = true
    end
    return done
end

-- What a ROLLBACK may take after the deadline.
local ROLLBACK_MS = 1000

-- Where there is something to be undone and the connection can be told so; otherwise releasing it deals with that.
local function undo(connection, deadline)
    local state = connection:transaction_state()
    if state == "open" or state == "failed" then
        connection:_until(deadline and math.max(deadline, core.now() + ROLLBACK_MS))
        connection:control("ROLLBACK")
    end
end

-- What was to be undone by a savepoint, and was not, may not be committed: nil, or an error.
local function why_spoilt(tx)
    local err = tx.whole.spoilt
    return err and failure.new(err.kind, "a transaction within could not be rolled back: " .. err.message)
end

-- One run of the block on a connection that is in no transaction.
local function run_unmarked(connection, fn, begin, deadline)
    local before, earliest = scope.restrict(connection, deadline)
    local ok, err = connection:control(begin)
    if not ok then
        connection:_until(before)
        return { err = err, unbegun = true }
    end
    local tx = setmetatable({ connection = connection, depth = 1, whole = {} }, Transaction)
    local done = outcome(repeats.pcall(connection, fn, tx))
    tx.ended = true
    if done.err == nil and not done.raised then
        done.err = scope.check(earliest) or why_spoilt(tx)
    end
    if done.err == nil and not done.raised then
        local sent
        ok, err, sent = commit(connection)
        if not ok then
            done = { err = err, results = done.results, sent = sent }
        end
    end
    if done.err ~= nil or done.raised then
        undo(connection, earliest)
    end
    connection:_until(before)
    return done
end

-- The same with the tags and the name of the session that the options say.
local function run_once(db, connection, fn, options, deadline)
    local applied = tags.apply(db, connection, options)
    if not applied then
        return run_unmarked(connection, fn, begin_text(options), deadline)
    end
    local ok, done = compat.pcall(run_unmarked, connection, fn, begin_text(options), deadline)
    tags.restore(connection, applied)
    if not ok then
        error(done, 0)
    end
    return done
end

-- May the whole block be run again? Serialization failures and deadlocks: the server has
-- rolled it back. A connection lost before COMMIT: the server does.
local function why_again(done, lost)
    local err = done.err
    if not failure.is(err) then
        return nil
    elseif err.retryable and err.kind == "database" then -- no connection could be had: it was waited for
        return err.name
    elseif err.verdict == "aborted" or lost and err.kind ~= "commit_unknown" then
        return "connection lost"
    end
    return nil
end

-- The pause before a repetition; `own` is what the transaction says itself.
local function pause_ms(db, own, attempt)
    local base = own.base_ms or tonumber(db:option "retry.base_ms") / 5
    local most = own.max_ms or tonumber(db:option "retry.max_ms")
    local jitter = tonumber(db:option "retry.jitter") / 100
    return math.min(base * 2 ^ (attempt - 1), most) * (1 - jitter * math.random())
end

local function run_on_new_connection(db, fn, options, deadline)
    local connection, err = db:acquire(scope.patience(db, options.timeout_ms, deadline))
    if not connection then
        return { err = err }, false
    end
    -- Not even a lack of memory may keep the connection.
    local ok, done = compat.pcall(run_once, db, connection, fn, options, deadline)
    local lost = connection:transaction_state() == "unknown"
    if not connection:is_released() then
        connection:release()
    end
    if not ok then
        error(done, 0)
    end
    return done, lost
end

-- A connection that the server ended while it lay idle may show with BEGIN only. Nothing has
-- been done then, so another is taken; each time one dead connection leaves the pool.
local function run_on_some_connection(db, fn, options, deadline)
    local done, lost = run_on_new_connection(db, fn, options, deadline)
    local spare = done.unbegun and lost and tonumber(db:option "pool.max") or 0
    while done.unbegun and lost and spare > 0 do
        done, lost = run_on_new_connection(db, fn, options, deadline)
        spare = spare - 1
    end
    return done, lost
end

--- db:transaction(fn, options): runs fn in a transaction on a connection of its own.
-- @param fn function(tx)
-- @param options isolation, read_only, deferrable; retries: how often the whole block may be run again after a
-- serialization failure, a deadlock or a connection lost before COMMIT (default 0), or retry = { attempts =, base_ms =,
-- max_ms = }: how often it is tried; timeout_ms: how long to wait for a connection; deadline_ms: how long the whole may
-- take, repetitions included: then every statement, and COMMIT, fails with a timeout; tags and application_name: of all
-- statements within
-- @return what fn returned, or nil and an error
function M.db_methods.transaction(db, fn, options)
    options = check_arguments(fn, options)
    local own = options.retry or {}
    local retries = own.attempts and own.attempts - 1 or options.retries or 0
    local deadline = scope.deadline_in(options.deadline_ms)
    local attempt = 1
    while true do
        local done, lost = run_on_some_connection(db, fn, options, deadline)
        done = settle(db, done)
        if done.err == nil and not done.raised then
            return results_of(done)
        end
        local pause = pause_ms(db, own, attempt)
        local in_time = not scope.check(deadline and deadline - pause)
        local why = attempt <= retries and in_time and why_again(done, lost)
        if not why or not db:_take_retry(attempt, done.err.code, why) then
            if failure.is(done.err) then
                done.err.attempts = attempt
            end
            return fail(done)
        end
        db:_pause(pause)
        attempt = attempt + 1
    end
end

--- connection:transaction(fn, options): the same on a connection that was acquired; never
-- repeated.
function M.connection_methods.transaction(connection, fn, options)
    options = check_arguments(fn, options)
    if connection:transaction_state() == "open" or connection:transaction_state() == "failed" then
        return nil, failure.new("validation", "the connection is in a transaction already")
    end
    local db = select(3, connection:_xact())
    local done = settle(db, run_once(db, connection, fn, options, scope.deadline_in(options.deadline_ms)))
    if done.err == nil and not done.raised then
        return results_of(done)
    end
    return fail(done)
end

return M
