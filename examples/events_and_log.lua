-- Hearing what happens in a pool: events, and a log of one's own.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/events_and_log.lua
local tidepool = require "tidepool"

-- A sink gets each entry of the log; without one, entries are lines on standard error. The values of
-- parameters are never logged.
local function sink(level, message, fields)
    print(("log    %s: %s: %s"):format(level, message, fields.sql or fields.reason or ""))
end

local db <close> = assert(tidepool.open {
    pool = { min = 1, max = 4 },
    log = { sink = sink, queries = true, connections = true, slow_ms = 50 },
})

-- What the pool does in the background is told at the next call of the program.
for _, name in ipairs { "connect", "remove", "state", "retry", "rollback" } do
    db:on(name, function(event)
        print(("event  %s %s"):format(name, event.message))
    end)
end

assert(db:wait_ready(5000))
assert(db:value("select $1::text", "this value is not in the log"))
assert(db:value("select pg_sleep(0.06)") == "") -- slower than slow_ms
db:query("select no_such_column")

-- The server's notices are events as well.
db:on("notice", function(event)
    print("event  notice " .. event.message)
end)
assert(db:script("do $$ begin raise notice 'the tide is coming in'; end $$"))

-- on returns a function that ends it. A query event has the text, the duration and the error, if any.
local count, longest = 0, 0
local stop = db:on("query_end", function(event)
    count, longest = count + 1, math.max(longest, event.duration_ms)
end)
for i = 1, 3 do
    assert(db:value("select $1::int", i))
end
stop()
assert(db:value("select 4"))
print(("%d queries were heard of; the longest took %.1f ms"):format(count, longest))
