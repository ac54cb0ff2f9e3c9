--- What a decoded JSON value is made of, so that a spec can compare it with what was promised, to the key.
local M = {}

local moment = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"

--- The value with its leaves replaced by what they are: "string", "number", "boolean", "null", or "moment" for a
--- timestamp. A list is its first element's shape in a list.
function M.of(value)
    if type(value) == "userdata" then
        return "null"
    elseif type(value) == "string" and value:find(moment) then
        return "moment"
    elseif type(value) ~= "table" then
        return type(value)
    elseif value[1] ~= nil then
        return { M.of(value[1]) }
    end
    local shape = {}
    for name, field in pairs(value) do
        shape[name] = M.of(field)
    end
    return shape
end

M.health = { status = "string", timestamp = "moment", service = "string", version = "string" }

M.db_health = {
    status = "string", timestamp = "moment", message = "string",
    database = {
        connection = "string", lastHealthCheck = "moment", connectionCount = "number", errorCount = "number",
    },
    performance = {
        responseTimeMs = "number", totalConnections = "number", idleConnections = "number",
        activeConnections = "number", waitingRequests = "number", maxConnections = "number", totalQueries = "number",
        failedQueries = "number", successRate = "number", retries = "number", averageQueryMs = "number",
        p95QueryMs = "number", p99QueryMs = "number", averageWaitMs = "number", p95WaitMs = "number",
    },
}

local table_shape = {
    totalBytes = "number", liveRows = "number", deadRows = "number", sequentialScans = "number",
    sequentialRowsRead = "number", indexScans = "number", rowsInserted = "number", rowsUpdated = "number",
    rowsDeleted = "number", lastVacuum = "null", lastAnalyze = "null",
}
local index_shape = {
    table = "string", bytes = "number", scans = "number", rowsRead = "number", rowsFetched = "number",
    unique = "boolean", valid = "boolean",
}

--- Of a database with one table, `http_thing`, its primary key and an index that nothing uses.
M.db_metrics = {
    timestamp = "moment",
    queryOptimization = {
        cache = { size = "number", maxSize = "number", enabled = "boolean" },
        metrics = { total = "number", slowQueries = "number", slowQueryThreshold = "number" },
    },
    databasePerformance = {
        database = {
            name = "string", sizeBytes = "number", connections = "number", maxConnections = "number",
            commits = "number", rollbacks = "number", blocksRead = "number", blocksHit = "number",
            cacheHitRatio = "number", rowsReturned = "number", rowsFetched = "number", rowsInserted = "number",
            rowsUpdated = "number", rowsDeleted = "number", deadlocks = "number", conflicts = "number",
            tempFiles = "number", tempBytes = "number", statsReset = "null", serverVersion = "string",
        },
        tables = { ["public.http_thing"] = table_shape },
        indexes = { ["public.http_thing_pkey"] = index_shape, ["public.http_thing_unused"] = index_shape },
        unusedIndexes = { { schema = "string", table = "string", index = "string", bytes = "number" } },
    },
}

return M
