-- A connection of one's own: for temporary tables, session settings, advisory locks.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/acquire.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { pool = { min = 0, max = 2 }, log = { queries = false } })

-- With <close> the connection goes back to the pool at the end of the block, whatever happens in it.
do
    local conn <close> = assert(db:acquire())
    assert(conn:exec("create temp table notes (text text)"))
    assert(conn:exec("insert into notes values ($1)", "only this connection sees me"))
    print(assert(conn:value("select text from notes")))
    assert(conn:exec("drop table notes"))
end

-- The same as a function, which gives back what the inner one returns.
local pid = assert(db:with(function(conn)
    assert(conn:exec("select set_config('application_name', 'a tide', false)"))
    return conn:value("select pg_backend_pid()")
end))
print("backend " .. pid .. " served us")

-- By hand. Once it was released, a connection is of no use any more.
local conn = assert(db:acquire())
assert(conn:release())
local _, err = conn:query("select 1")
print("after release: " .. tostring(err))

-- An open transaction is rolled back when its connection comes back, and told of.
db:on("rollback", function(event)
    print("rollback event: " .. event.message)
end)
local forgetful = assert(db:acquire())
assert(forgetful:script("begin"))
assert(forgetful:release())
assert(db:value("select 1") == 1) -- events are told at the next calls

-- acquire waits up to pool.acquire_timeout_ms, or as long as it is told to. Where waiting could never
-- end, because this program holds all connections itself, the answer comes at once.
local first <close> = assert(db:acquire())
local second <close> = assert(db:acquire())
local third, busy = db:acquire(1000)
print(("a third of two: %s, %s, while backends %d and %d are held"):format(third, busy.kind, first:backend_pid(),
    second:backend_pid()))
