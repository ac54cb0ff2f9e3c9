--- tidepool: a PostgreSQL client and connection pool.
--
--     local tidepool = require "tidepool"
--     local db = assert(tidepool.open())
--     local user = assert(db:one("select * from users where email = $1", email))
--
-- Whatever can happen at run time comes back as `nil, err`; `error()` is raised for wrong
-- argument types only. See README.md for the whole of the interface.
-- @module tidepool
local adapters = require "tidepool.await.adapter"
local await = require "tidepool.await"
local blockers = require "tidepool.blockers"
local compat = require "tidepool.compat"
local core = require "tidepool.core"
local copy = require "tidepool.copy"
local events = require "tidepool.events"
local failure = require "tidepool.failure"
local listen = require "tidepool.listen"
local health = require "tidepool.health"
local log = require "tidepool.log"
local options = require "tidepool.options"
local password = require "tidepool.password"
local pipeline = require "tidepool.pipeline"
local scope = require "tidepool.scope"
local shutdown = require "tidepool.shutdown"
local slow = require "tidepool.slow"
local transaction = require "tidepool.transaction"

---@class tidepool
local M = {
    _VERSION = "tidepool " .. core.version,
    --- Stands for NULL inside of tables (JSON, arrays); the same value as cjson.null.
    null = core.null,
    --- json(value): sends any Lua value as JSON, also a plain string or number.
    json = core.json,
    --- array(list): marks a table as a JSON array, so that an empty one is sent as [].
    array = core.array,
    --- The metatable that array() gives.
    array_mt = core.array_mt,
    --- assert(value, err): Lua's own, which in Lua 5.1 cannot raise an error of tidepool's: there another.
    assert = compat.assert,
    --- quote_identifier(name): the name as an SQL identifier, or nil and an error.
    quote_identifier = core.quote_identifier,
    --- quote_literal(text): the text as an SQL string constant, or nil and an error.
    quote_literal = core.quote_literal,
    --- shutdown_on{"TERM", "INT", drain_ms =}: signals that end the process in an orderly way.
    shutdown_on = shutdown.on,
    --- sqlstate(code): {name =, class =, retryable =} of an SQLSTATE, or nil.
    sqlstate = core.sqlstate,
}

local function extend(methods, more)
    for name, method in pairs(more) do
        methods[name] = method
    end
end

extend(core.db_methods, blockers.methods)
extend(core.db_methods, copy.methods)
extend(core.connection_methods, copy.methods)
extend(core.db_methods, events.methods)
listen.install(extend)
extend(core.db_methods, health.methods)
extend(core.db_methods, scope.methods)
extend(core.db_methods, slow.methods)
extend(core.db_methods, transaction.db_methods)
extend(core.connection_methods, transaction.connection_methods)
core.db_methods.each = await.each
core.connection_methods.each = await.each
core.db_methods.pipeline = pipeline.run
core.connection_methods.pipeline = pipeline.run
for _, name in ipairs { "quote_identifier", "quote_literal" } do
    core.db_methods[name] = function(_, text)
        if type(text) ~= "string" and type(text) ~= "number" then
            failure.misuse("%s: a string expected, got %s", name, type(text))
        end
        return core[name](text)
    end
end

--- Opens a pool. Never waits, and does not fail because the server is away or nothing is
-- configured: db:wait_ready(ms) waits, db:state() tells.
-- @param where nil (the environment says), a URL, or a table of options with `url`
-- @return the database, or nil and an error of kind "validation" or "tls" for an option
-- that cannot be right
function M.open(where)
    if where == M then
        failure.misuse("it is called with a dot: tidepool.open(...)")
    end
    local url, pairs_of_text, others = options.flatten(where)
    local adapter = await.adapter(others.await)
    if adapters.in_nginx() then
        core.declare_worker()
    end
    local db, err = core.open(url, pairs_of_text, others.password ~= nil)
    if not db then
        return nil, err
    end
    await.attach(db, adapter)
    password.attach(db, others.password)
    log.attach(db, others)
    return db
end

--- Whether something says where the server is: the environment, or `where` as in open.
-- @return a boolean, or nil and an error
function M.is_configured(where)
    local url, pairs_of_text, others = options.flatten(where)
    return core.is_configured(url, pairs_of_text, others.password ~= nil)
end

--- The option table: a list of {name, type, environment, url, production, development,
-- choices, doc}.
function M.options()
    return core.options()
end

return M
