-- Where the database is, and living without one.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/configuration.lua
--     env -u DATABASE_URL lua5.4 examples/configuration.lua      shows what happens without one
local tidepool = require "tidepool"

-- Without any address an application starts all the same: the log has one line about it, and each call
-- says at once why it fails.
if not tidepool.is_configured() then
    local db <close> = assert(tidepool.open {
        log = { queries = false, sink = function(level, message) print(("log, %s: %s"):format(level, message)) end },
    })
    local rows, err = db:query("select 1")
    print(("%s, %s: %s"):format(rows, err.kind, err.message))
    print("the state is " .. db:state().state)
    return
end

-- Options come from the code, else from the environment: DB_CONNECTION_STRING, DATABASE_URL, DB_HOST and
-- its like, or libpq's own PGHOST. What is said here overrides one option; the address is the environment's.
local db <close> = assert(tidepool.open {
    application_name = "configuration example",
    pool = { min = 1, max = 4, acquire_timeout_ms = 2000 },
    log = { queries = false },
})
print(("pool.max is %s, pool.idle_timeout_ms is %s, password is %s"):format(db:option("pool.max"),
    db:option("pool.idle_timeout_ms"), db:option("password")))

-- open never waits. An application that cannot do without its database waits when it starts.
print("right after open: " .. db:state().state)
local ready, err = db:wait_ready(5000)
print(("ready: %s%s"):format(ready, err and ", " .. tostring(err) or ""))
print(("now: %s, is_connected %s, ping %s"):format(db:state().state, db:is_connected(), db:ping()))

-- A mistake is told of by open, with the name of what is wrong.
local _, mistake = tidepool.open { pool = { min = 20, max = 5 } }
print(mistake)
_, mistake = tidepool.open { pool = { maximum = 5 } }
print(mistake)

-- A server that is away is a state too. When it comes, the next call works.
local away <close> = assert(tidepool.open { url = "postgresql://someone@127.0.0.1:1/shop", log = { queries = false } })
local _, unreachable = away:query({ "select 1", timeout_ms = 300 })
local state = away:state()
print(("%s: %s after %d failures, is_connected %s"):format(unreachable.kind, state.state, state.error_count,
    state.is_connected))
