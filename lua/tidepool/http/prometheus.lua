--- The statistics of a pool in the text formats of Prometheus and OpenMetrics. Nothing is asked of the server.
-- @module tidepool.http.prometheus
local answer = require "tidepool.http.answer"
local figures = require "tidepool.http.figures"
local sorted_keys = require "tidepool.sorted_keys"

local M = {}

-- Counters: the field of db:stats(), the name of the metric without _total, its help. A field that is not there is
-- left out.
local counters = {
    { "acquires", "acquires", "Connections that were lent." },
    { "acquire_timeouts", "acquire_timeouts", "Callers that got no connection by their deadline." },
    { "acquire_cancels", "acquire_cancels", "Callers that went away while they waited for a connection." },
    { "fail_fast", "fail_fast", "Calls that were told at once that no connection can be made." },
    { "created", "connections_created", "Connections that were made." },
    { "connect_failures", "connect_failures", "Attempts to connect that failed." },
    { "queries", "queries", "Statements that were run." },
    { "query_failures", "query_failures", "Statements that failed." },
    { "slow_queries", "slow_queries", "Statements that took longer than log.slow_ms." },
    { "retries", "retries", "Repetitions." },
    { "retries_refused", "retries_refused", "Repetitions that retry.budget did not allow." },
    { "rollbacks", "open_transactions_returned", "Connections that came back in an open transaction." },
    { "leaks", "leaks", "Connections that were lost without being released." },
    { "notifications", "notifications", "Notifications that were received." },
    { "statements_prepared", "statements_prepared", "Statements that were prepared." },
    { "statement_hits", "statement_hits", "Statements that were prepared already." },
    { "statement_evictions", "statement_evictions", "Prepared statements that made room for others." },
}

-- Counters with a label: the field, the metric, the label, the help.
local labelled = {
    { "closed", "connections_closed", "reason", "Connections that were closed, by reason." },
    { "errors", "errors", "kind", "Failures by kind." },
    { "errors_by_class", "sql_errors", "class", "Errors of the server by the class of their SQLSTATE." },
    { "transactions", "transactions", "outcome", "Transactions that ended, by how they did." },
}

local gauges = {
    { "max", "connections_max", "The most connections that the pool opens." },
    { "min", "connections_min", "Connections that are kept open." },
    { "limit", "connections_limit", "The most connections at present: as max, or what pool.adaptive has found." },
    { "waiting_requests", "waiting_requests", "Callers that wait for a connection." },
    { "listeners", "listeners", "Listeners for notifications." },
    { "processes", "processes", "Processes that the figures are of." },
}

local budget = {
    { "max", "budget_max", "The most connections of all processes that share the budget." },
    { "used", "budget_used", "Connections of all processes that share the budget." },
    { "processes", "budget_processes", "Processes that share the budget." },
}

local states = {
    { "idle_connections", "idle" }, { "active_connections", "active" }, { "connecting", "connecting" },
    { "mending", "mending" },
}

local histograms = {
    { "query", "query_seconds", "How long statements took." },
    { "wait", "wait_seconds", "How long callers waited for a connection." },
    { "connect", "connect_seconds", "How long connecting took." },
    { "transaction", "transaction_seconds", "How long transactions took." },
    { "held", "held_seconds", "For how long connections were lent." },
}

local breaker_states = { "closed", "half_open", "open" }

-- ------------------------------------------------------------------ writing

local Writer = {}
Writer.__index = Writer

local function escape(text)
    return (tostring(text):gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

local function number(value)
    if value == math.huge then
        return "+Inf"
    elseif value % 1 == 0 and math.abs(value) < 2 ^ 53 then
        return ("%d"):format(value)
    end
    return ("%.9g"):format(value)
end

-- Says what comes next. In OpenMetrics a counter's family has no suffix.
function Writer:family(kind, name, help)
    local family = "tidepool_" .. name .. (kind == "counter" and not self.open and "_total" or "")
    self[#self + 1] = ("# HELP %s %s\n# TYPE %s %s\n"):format(family, help, family, kind)
end

function Writer:sample(name, value, label, of)
    local more = label and (',%s="%s"'):format(label, escape(of)) or ""
    self[#self + 1] = ("tidepool_%s{pool=\"%s\"%s} %s\n"):format(name, self.pool, more, number(value))
end

function Writer:simple(kind, rows, from)
    for _, row in ipairs(rows) do
        local value = from[row[1]]
        if type(value) == "number" then
            self:family(kind, row[2], row[3])
            self:sample(row[2] .. (kind == "counter" and "_total" or ""), value)
        end
    end
end

function Writer:by_label(row, values)
    if type(values) ~= "table" or next(values) == nil then
        return
    end
    self:family("counter", row[2], row[4])
    for _, key in ipairs(sorted_keys(values)) do
        self:sample(row[2] .. "_total", values[key], row[3], key)
    end
end

function Writer:histogram(row, latency)
    if type(latency) ~= "table" then
        return
    end
    self:family("histogram", row[2], row[3])
    for _, bucket in ipairs(latency.buckets or {}) do
        self:sample(row[2] .. "_bucket", bucket.count, "le", number(bucket.le_ms / 1000))
    end
    self:sample(row[2] .. "_bucket", latency.count, "le", "+Inf")
    self:sample(row[2] .. "_sum", (latency.sum_ms or latency.mean_ms * latency.count) / 1000)
    self:sample(row[2] .. "_count", latency.count)
end

-- What others have connected counts where this process has not tried yet, so that it does not matter which is asked.
local function is_up(db, stats)
    local state = db:state()
    if state.state == "starting" then
        return stats.total_connections > 0 and stats.breaker ~= "open"
    end
    return state.is_connected
end

function Writer:connections(db, stats)
    self:family("gauge", "up", "Whether the database can be reached, as far as the pool knows.")
    self:sample("up", is_up(db, stats) and 1 or 0)
    self:family("gauge", "connections", "Connections by state.")
    for _, state in ipairs(states) do
        self:sample("connections", stats[state[1]], "state", state[2])
    end
    self:family("gauge", "breaker", "The state of the breaker: 1 for the one that it is in.")
    for _, state in ipairs(breaker_states) do
        self:sample("breaker", stats.breaker == state and 1 or 0, "state", state)
    end
end

--- The text.
-- @param stats of db:stats()
-- @param open whether as OpenMetrics has it
function M.text(db, stats, open)
    local writer = setmetatable({ open = open, pool = escape(figures.pool_name(db)) }, Writer)
    writer:connections(db, stats)
    writer:simple("gauge", gauges, stats)
    writer:simple("gauge", budget, stats.budget or {})
    writer:simple("counter", counters, stats)
    for _, row in ipairs(labelled) do
        writer:by_label(row, stats[row[1]])
    end
    for _, row in ipairs(histograms) do
        writer:histogram(row, stats[row[1]])
    end
    return table.concat(writer) .. (open and "# EOF\n" or "")
end

--- GET /metrics
function M.scrape(db, request)
    local stats, err = figures.exact(db)
    if not stats then
        return answer.failure(503, "the totals of all processes are not to be had: " .. err.kind,
            { ["retry-after"] = "1" })
    end
    local open = (request.headers.accept or ""):find("application/openmetrics-text", 1, true) ~= nil
    local kind = open and "application/openmetrics-text; version=1.0.0; charset=utf-8"
        or "text/plain; version=0.0.4; charset=utf-8"
    return answer.text(200, kind, M.text(db, stats, open))
end

return M
