-- Traces: a span for each call of the database, with the trace's id in the statement as the server sees it.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/tracing.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open {
    pool = { min = 1, max = 4 },
    log = { queries = false, slow_ms = 50, sink = function(level, message, fields)
        print(("log    %s: %s at %s"):format(level, message, fields.place))
    end },
})

-- An exporter of spans gets these; here they are printed. What query_start keeps in event.span is there again when
-- query_end comes, so a library for OpenTelemetry can keep its own span in it.
local depth = 0

db:on("query_start", function(event)
    depth = depth + 1
    event.span.name = event.sql:match "^%s*(%a+)" or "query"
    event.span.trace = event.tags and event.tags.traceparent or "none"
end)

db:on("query_end", function(event)
    print(("span   %s %d row(s), trace %s, %s"):format(event.span.name:lower(), event.rows, event.span.trace,
        event.error and event.error.name or event.command))
    depth = depth - 1
end)

-- A request with a trace of its own: whatever is done within has its tags. They are a comment behind each text, which
-- the server's log and pg_stat_activity show; statistics and caches leave it out.
local function answer(number)
    local traceparent = ("00-%032x-%016x-01"):format(number, number)
    return db:with(function(conn)
        local shown = conn:value "select query from pg_stat_activity where pid = pg_backend_pid()"
        print("server " .. shown:match "/%*.*")
        return conn:value("select $1::int * 2", number)
    end, { tags = { traceparent = traceparent, route = "/double" }, application_name = "tracing" })
end

print("answer " .. assert(answer(21)))
print("answer " .. assert(answer(4)))
db:query "select no_such_column"
assert(db:value "select pg_sleep(0.06)" == "")
assert(depth == 0)

-- What all of that came to, by statement.
for _, it in ipairs(db:statements { limit = 3, by = "calls" }) do
    print(("total  %d x %s"):format(it.calls, it.query))
end
