--- tidepool.http: its answers to the key, its metrics as Prometheus reads them, and whom it lets do maintenance.
local core = require "tidepool.core"
local http = require "tidepool.http"
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local shape = require "spec.support.shape"

local TOKEN = "Zweig-1913"

local function open(options)
    local where = {
        url = server.url(), name = options and options.name, pool = { min = 0, max = 2 },
        log = { queries = false, sink = function() end },
    }
    for name, value in pairs(options or {}) do
        where[name] = value
    end
    return assert(tidepool.open(where))
end

local closing = portable.closing

local function get(db, path, options, headers)
    return http.handle(db, { method = "GET", path = path, headers = headers }, options)
end

local function get_json(db, path, options)
    local status, headers, body = get(db, path, options)
    assert.equal("application/json; charset=utf-8", headers["content-type"])
    assert.equal(tostring(#body), headers["content-length"])
    assert.equal("no-store", headers["cache-control"])
    return assert(core.json_decode(body)), status
end

describe("tidepool.http", function()
    it("answers /health to the key, with what the application adds", function()
        local db = closing(open())
        local body, status = get_json(db, "/health", { service = "shop", version = "2.1.0" })
        assert.equal(200, status)
        assert.same(shape.health, shape.of(body))
        assert.same({ "ok", "shop", "2.1.0" }, { body.status, body.service, body.version })
        body = get_json(db, "/health", { extra = function(of)
            return { nodes = { registered_count = 42, is_this_db = of == db } }
        end })
        assert.same({ registered_count = 42, is_this_db = true }, body.nodes)
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        assert.equal("ok", get_json(away, "/health").status, "whether the service runs is not the database's affair")
    end)

    it("answers /api/db/health to the key, with 503 when the database is away", function()
        local db = closing(open())
        local body, status = get_json(db, "/api/db/health")
        assert.equal(200, status)
        assert.same(shape.db_health, shape.of(body))
        assert.same({ "healthy", "connected", 1, 0 }, { body.status, body.database.connection,
            body.database.connectionCount, body.database.errorCount })
        assert.equal("Database health check completed successfully", body.message)

        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        body, status = get_json(away, "/api/db/health", { health_timeout_ms = 100 })
        assert.equal(503, status)
        assert.same(shape.db_health, shape.of(body))
        assert.same({ "unhealthy", "disconnected" }, { body.status, body.database.connection })
        assert.equal("Database health check failed: the server does not answer: connection", body.message)
    end)

    it("answers /api/db/metrics to the key, and asks the server no more than once in five seconds", function()
        server.psql "create database http_metrics"
        finally(function() server.psql "drop database http_metrics with (force)" end)
        local db = closing(open { url = server.url { database = "http_metrics" } })
        assert(db:script [[create table http_thing (id int primary key, kind text);
            create index http_thing_unused on http_thing (kind)]])
        local body, status = get_json(db, "/api/db/metrics")
        assert.equal(200, status)
        assert.same(shape.db_metrics, shape.of(body))
        assert.same({ { schema = "public", table = "http_thing", index = "http_thing_unused", bytes = 8192 } },
            body.databasePerformance.unusedIndexes)
        assert.same({ size = 0, maxSize = 0, enabled = false }, body.queryOptimization.cache)
        assert.equal(1000, body.queryOptimization.metrics.slowQueryThreshold)
        local queries = db:stats().queries
        for _ = 1, 20 do
            body = get_json(db, "/api/db/metrics")
        end
        assert.equal(queries, db:stats().queries)
        assert.equal(queries, body.queryOptimization.metrics.total)
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db", breaker = { failures = 1 } })
        local failure
        failure, status = get_json(away, "/api/db/metrics", { health_timeout_ms = 100 })
        assert.equal(503, status)
        assert.equal("the server's statistics are not to be had: connection", failure.error)
    end)

    it("answers /api/db/metrics also while tables and indexes are locked, without their sizes", function()
        server.psql "create database http_locked"
        finally(function() server.psql "drop database http_locked with (force)" end)
        local db = closing(open { url = server.url { database = "http_locked" } })
        assert(db:script [[create table locked_thing (id int); create table free_thing (id int primary key);
            create table indexed_thing (id int); create index locked_index on indexed_thing (id)]])
        db:transaction(function(tx)
            assert(tx:script "lock table locked_thing; reindex index locked_index")
            local body, status = get_json(db, "/api/db/metrics")
            assert.equal(200, status)
            local tables, indexes = body.databasePerformance.tables, body.databasePerformance.indexes
            assert.equal(core.null, tables["public.locked_thing"].totalBytes)
            assert.equal(core.null, tables["public.indexed_thing"].totalBytes)
            assert.equal(core.null, indexes["public.locked_index"].bytes)
            assert.equal(core.null, body.databasePerformance.unusedIndexes[1].bytes)
            assert.equal(8192, tables["public.free_thing"].totalBytes)
            assert.equal(8192, indexes["public.free_thing_pkey"].bytes)
            return true
        end)
    end)

    it("has everything below a prefix and below /tidepool, and nothing anywhere else", function()
        local db = closing(open())
        for _, path in ipairs { "/health", "/tidepool/health", "/tidepool/metrics", "/tidepool/api/db/health",
                                "/tidepool/", "/tidepool/data.json?since=1" } do
            assert.equal(200, (get(db, path)), path)
            assert.equal(200, (get(db, "/ops" .. path, { prefix = "/ops" })), path)
            assert.equal(200, (get(db, "/ops" .. path, { prefix = "/ops/" })), path)
            assert.equal(404, (get(db, path, { prefix = "/ops" })), path)
        end
        for _, path in ipairs { "/", "", "/tidepool/tidepool/health", "/healthy", "/tidepool/x", "/../health" } do
            assert.equal(404, (get(db, path)), path)
        end
        local status, headers = get(db, "/tidepool")
        assert.same({ 301, "tidepool/" }, { status, headers.location })
    end)

    it("answers HEAD as GET without the body, and other methods with 405", function()
        local db = closing(open())
        local status, headers, body = http.handle(db, { method = "HEAD", path = "/health", headers = {} })
        assert.same({ 200, "" }, { status, body })
        assert.is_true(tonumber(headers["content-length"]) > 50)
        status, headers = http.handle(db, { method = "DELETE", path = "/health", headers = {} })
        assert.same({ 405, "GET, HEAD" }, { status, headers.allow })
        status, headers = http.handle(db, { method = "GET", path = "/api/db/maintenance", headers = {} })
        assert.same({ 405, "POST" }, { status, headers.allow })
    end)

    it("survives an application whose own fields fail, and tells the log", function()
        local told
        local db = closing(open { log = { queries = false, sink = function(_, message, fields)
            told = message .. " " .. tostring(fields.error)
        end } })
        local body, status = get_json(db, "/health", { extra = function() error "no nodes" end })
        assert.equal(500, status)
        assert.equal("something went wrong, see the log", body.error)
        assert.matches("a request to tidepool.http has failed .*no nodes", told)
        body, status = get_json(db, "/health", { extra = { nodes = print } })
        assert.equal(500, status)
        assert.matches("cannot be written as JSON", body.error)
    end)

    it("refuses options that do not exist or are of another type", function()
        local db = closing(open())
        for _, options in ipairs { { tokn = "x" }, { token = 5 }, { indexes = { { name = "x" } } }, { extra = "x" } } do
            assert.is_false((pcall(get, db, "/health", options)))
        end
        assert.is_false((pcall(http.handle, db, { path = "/" })))
        assert.is_false((pcall(http.new, {})))
    end)

    it("says when it is given no database", function()
        local request = { method = "GET", path = "/health" }
        for _, misuse in ipairs {
            function() http.handle(nil, request) end, function() http.handle(request) end,
            function() http.new {} end, function() http.nginx(nil) end,
        } do
            assert.error_matches(misuse, "a database expected, as tidepool.open returns it, got")
        end
        assert.error_matches(function() http.new(closing(open())) end, "http.new{ db = db }, got userdata")
    end)

    it("makes handlers with their own options", function()
        local db = closing(open())
        local handler = http.new { db = db, service = "shop" }
        local status, _, body = handler:handle { method = "GET", path = "/health" }
        assert.equal(200, status)
        assert.equal("shop", core.json_decode(body).service)
    end)
end)

describe("the data of the page", function()
    it("has what the page shows, and of the history what came after a moment", function()
        local db = closing(open { name = "shown" })
        assert.equal(1, db:value "select 1")
        local data, status = get_json(db, "/tidepool/data.json")
        assert.same({ 200, "shown", "connected", "healthy" }, { status, data.pool, data.state, data.health.status })
        assert.is_true(data.stats.queries >= 1) -- who waits for locks is asked by a query, too
        assert.equal(1, #data.history)
        assert.equal(#data.stats.query.buckets + 1, #data.history[1].query)
        for _, name in ipairs { "statements", "slow_queries", "holders", "blockers", "tls_warnings" } do
            assert.is_table(data[name], name)
        end
        local since = data.history[1].time
        assert.equal(0, #get_json(db, ("/tidepool/data.json?x=1&since=%.6f"):format(since)).history)
        local _, _, body = http.handle(db, { method = "GET", path = "/tidepool/data.json", query = { since = "1" } })
        assert.equal(1, #core.json_decode(body).history)
    end)

    it("comes also while every connection is lent, and while the server is away", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        db:with(function()
            local began = server.now()
            local data = get_json(db, "/tidepool/data.json")
            assert.is_true(server.now() - began < 3000)
            assert.equal("degraded", data.health.status)
            assert.equal(1, data.stats.active_connections)
        end)
        local suspended = closing(open { pool = { min = 0, max = 1, acquire_timeout_ms = 9000 } })
        suspended:suspend()
        local began = server.now()
        assert.equal("degraded", get_json(suspended, "/tidepool/data.json").health.status)
        assert.is_true(server.now() - began < 4000, "nobody is waited for")
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        local data, status = get_json(away, "/tidepool/data.json", { health_timeout_ms = 100 })
        assert.same({ 200, "unhealthy", "connection" }, { status, data.health.status, data.health.error.kind })
    end)
end)

-- ------------------------------------------------------------------ metrics

local promtool = server.sh "PATH=$PATH:build/tools command -v promtool":match "%S+"

--- {["name{labels}"] = value} of the text.
local function samples_of(text)
    local samples = {}
    for line in text:gmatch "[^\n]+" do
        if line:sub(1, 1) ~= "#" then
            local name, value = line:match "^(%S+) (%S+)$"
            assert.is_nil(samples[name], line)
            samples[name] = assert(tonumber(value), line)
        end
    end
    return samples
end

describe("the metrics", function()
    it("are what db:stats() says", function()
        local db = closing(open { name = 'po"ol\\' })
        for i = 1, 7 do assert.equal(i, db:value("select $1::int", i)) end
        assert.is_nil((db:query "selec"))
        local status, headers, body = get(db, "/metrics")
        assert.same({ 200, "text/plain; version=0.0.4; charset=utf-8" }, { status, headers["content-type"] })
        local samples, pool = samples_of(body), [[pool="po\"ol\\"]]
        assert.equal(8, samples["tidepool_queries_total{" .. pool .. "}"])
        assert.equal(1, samples["tidepool_query_failures_total{" .. pool .. "}"])
        assert.equal(1, samples["tidepool_errors_total{" .. pool .. ',kind="database"}'])
        assert.equal(1, samples["tidepool_connections{" .. pool .. ',state="idle"}'])
        assert.equal(2, samples["tidepool_connections_max{" .. pool .. "}"])
        assert.equal(0, samples["tidepool_connections_closed_total{" .. pool .. ',reason="dead"}'])
        assert.equal(1, samples["tidepool_up{" .. pool .. "}"])
        assert.equal(1, samples["tidepool_breaker{" .. pool .. ',state="closed"}'])
        local stats = db:stats()
        for _, name in ipairs { "query", "wait", "connect" } do
            local prefix = ("tidepool_%s_seconds"):format(name)
            assert.equal(stats[name].count, samples[prefix .. "_count{" .. pool .. "}"])
            assert.equal(stats[name].count, samples[prefix .. "_bucket{" .. pool .. ',le="+Inf"}'])
            local mean_ms = samples[prefix .. "_sum{" .. pool .. "}"] / stats[name].count * 1000
            assert.is_true(math.abs(mean_ms - stats[name].mean_ms) < 0.002 + stats[name].mean_ms * 0.01)
        end
    end)

    it("have histograms whose buckets rise to the count", function()
        local db = closing(open { name = "h" })
        db:transaction(function(tx) for _ = 1, 5 do tx:value "select 1" end end)
        db:value "select pg_sleep(0.06)"
        local _, _, body = get(db, "/metrics")
        for _, name in ipairs { "query", "wait", "connect", "transaction", "held" } do
            local before, bounds, last = 0, {}, nil
            for le, count in body:gmatch("tidepool_" .. name .. '_seconds_bucket{pool="h",le="([^"]+)"} (%d+)') do
                count = tonumber(count)
                assert.is_true(count >= before)
                before, last = count, le
                bounds[le] = count
            end
            assert.equal("+Inf", last)
            assert.equal(before, db:stats()[name].count, name)
            assert.is_number(bounds["0.0001"] and bounds["10"], name)
        end
        local slow = body:match 'tidepool_query_seconds_bucket{pool="h",le="0.05"} (%d+)'
        local all = body:match 'tidepool_query_seconds_bucket{pool="h",le="10"} (%d+)'
        assert.is_true(tonumber(slow) < tonumber(all))
        assert.matches('tidepool_transactions_total{pool="h",outcome="committed"} 1\n', body)
    end)

    it("ask nothing of the server, and say that it is away", function()
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        local status, _, body = get(away, "/metrics")
        assert.equal(200, status)
        assert.matches('tidepool_up{pool="db"} 0\n', body)
        assert.equal(0, away:stats().acquires)
    end)

    it("say that the database is up when any process that shares them is connected", function()
        local name = server.new_name "http_up"
        local function open_sharing(url)
            return closing(open { url = url or server.url(), stats = { shared = true },
                pool = { min = 0, max = 1, budget = name } })
        end
        local function up(db)
            return tonumber((select(3, get(db, "/metrics")):match "\ntidepool_up{[^}]*} (%d)"))
        end
        local idle, busy = open_sharing(), open_sharing()
        assert.same({ 0, 0 }, { up(idle), up(busy) })
        assert(busy:value "select 1")
        assert.equal(1, up(busy))
        assert.is_true(server.wait(function() return up(idle) == 1 end, 3000))
        local away = open_sharing "postgresql://u@127.0.0.1:1/db"
        assert.is_nil((away:value "select 1"))
        assert.equal(0, up(away), "what it knows itself counts")
    end)

    it("never go back to those of one process while those of all cannot be had", function()
        local name = server.new_name "http_spec"
        local path = ("/dev/shm/tidepool-%s-%s+stats"):format((server.sh "id -u":gsub("%s", "")), name)
        local function spoil()
            os.remove(path)
            server.sh("touch " .. path .. " && chmod 666 " .. path)
        end
        finally(function() os.remove(path) end)
        local function open_sharing()
            local db = closing(open { stats = { shared = true }, pool = { min = 0, max = 1, budget = name } })
            assert(db:value "select 1")
            return db
        end
        spoil()
        local alone = open_sharing()
        assert.equal(200, (get(alone, "/metrics")), "then it has none but its own")
        os.remove(path)
        local db = open_sharing()
        assert.equal(200, (get(db, "/metrics")))
        spoil()
        local status, headers = get(db, "/metrics")
        assert.same({ 503, "1" }, { status, headers["retry-after"] })
        assert.equal(200, (get(db, "/tidepool/data.json")))
        os.remove(path)
        assert.equal(200, (get(db, "/metrics")))
    end)

    it("are accepted by promtool", function()
        if not promtool then
            return pending "promtool is not installed (spec/support/deps.sh prometheus)"
        end
        local db = closing(open { pool = { min = 0, max = 2, max_total = 4, budget = "http_spec" } })
        assert.equal(1, db:value "select 1")
        assert.is_nil((db:query "selec"))
        local _, _, body = get(db, "/metrics")
        assert.matches("tidepool_budget_used", body)
        local path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write(body)
        file:close()
        finally(function() os.remove(path) end)
        local output, code = server.sh(promtool .. " check metrics <" .. path)
        assert.same({ "", 0 }, { output, code })
        server.sh("sed -i 's/_total//' " .. path)
        assert.not_equal(0, select(2, server.sh(promtool .. " check metrics <" .. path)), "promtool sees what is wrong")
    end)

    it("are OpenMetrics for who accepts that: families without _total, and an end", function()
        local db = closing(open())
        assert.equal(1, db:value "select 1")
        local _, headers, body = get(db, "/metrics", nil, { accept = "application/openmetrics-text;version=1.0.0,*/*" })
        assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8", headers["content-type"])
        assert.matches("\n# EOF\n$", body)
        assert.matches("# TYPE tidepool_queries counter\ntidepool_queries_total{", body)
        for family in body:gmatch "# TYPE (%S+) counter" do
            assert.is_nil(family:find "_total$")
        end
        local _, _, plain = get(db, "/metrics")
        assert.is_nil(plain:find("EOF", 1, true))
        assert.matches("# TYPE tidepool_queries_total counter\n", plain)
    end)
end)

-- -------------------------------------------------------------- maintenance

local function post(db, body, headers, options)
    local all = { authorization = "Bearer " .. TOKEN, host = "localhost:4000" }
    for name, value in pairs(headers or {}) do all[name] = value or nil end
    options = options or {}
    options.token = options.token or TOKEN
    local status, more, text = http.handle(db,
        { method = "POST", path = "/api/db/maintenance", headers = all, body = body }, options)
    return status, core.json_decode(text), more
end

local function act(db, action, options)
    return post(db, ('{"action": "%s"}'):format(action), nil, options)
end

-- {what = status} of the entries of an answer.
local function by_name(answer, what)
    local found = {}
    for _, entry in ipairs(answer.results) do
        if entry[what] then
            found[entry[what]] = entry.status
        end
    end
    return found
end

describe("maintenance", function()
    local db

    setup(function()
        server.psql "create database http_maintenance"
        server.psql "drop role if exists http_owner; create role http_owner login"
        server.psql "grant create on database http_maintenance to http_owner"
        db = open { url = server.url { database = "http_maintenance" } }
        assert(db:script [[
            create schema "odd ""schema"; create table "odd ""schema"."Ta ble" (id int primary key, kind text);
            create table plain (id int primary key, kind text);
            insert into plain select g, 'x' from generate_series(1, 50) g;
            create table parts (id int) partition by range (id); create table part_1 partition of parts
                for values from (0) to (100)]])
    end)

    teardown(function()
        db:close()
        server.psql "drop database http_maintenance with (force)"
        server.psql "drop role http_owner"
    end)

    it("does nothing without a token of the service's, or without the right one of the caller's", function()
        local status, answer = post(db, '{"action": "analyzeTables"}', nil, { token = "" })
        assert.equal(403, status)
        assert.matches("no token", answer.error)
        for _, given in ipairs { "Bearer wrong", "Bearer " .. TOKEN .. "x", "Bearer", TOKEN, "Basic " .. TOKEN, "" } do
            local headers
            status, _, headers = post(db, '{"action": "analyzeTables"}', { authorization = given })
            assert.equal(401, status, given)
            assert.equal('Bearer realm="tidepool"', headers["www-authenticate"])
        end
        assert.equal(200, (post(db, '{"action": "analyzeTables"}', { authorization = "bearer  " .. TOKEN })))
    end)

    it("takes no request from a page of another origin", function()
        for _, origin in ipairs { "http://evil.example", "null", "http://localhost:4001", "http://localhost:4000.evil",
                                  "localhost:4000" } do
            assert.equal(403, (post(db, '{"action": "analyzeTables"}', { origin = origin })), origin)
        end
        assert.equal(200, (post(db, '{"action": "analyzeTables"}', { origin = "http://LocalHost:4000" })))
    end)

    it("refuses bodies that are too long, no JSON, or without a known action", function()
        assert.equal(413, (post(db, '{"action": "analyzeTables", "x": "' .. ("x"):rep(4096) .. '"}')))
        for _, body in ipairs { "", "analyzeTables", "[]", "5", '{"action": 5}', '{"action": "drop"}', "{" } do
            local status, answer = post(db, body)
            assert.equal(400, status, body)
            assert.matches("analyzeTables, createIndexes, optimizeStorage, vacuumTables", answer.error)
        end
    end)

    it("analyzes and vacuums every table of the user's, and says which", function()
        local status, answer = act(db, "analyzeTables")
        assert.equal(200, status)
        assert.same({ action = "string", status = "string", timestamp = "moment", durationMs = "number",
            message = "string", results = { { table = "string", status = "string", durationMs = "number" } } },
            shape.of(answer))
        assert.same({ ['odd "schema.Ta ble'] = "done", ["public.plain"] = "done", ["public.parts"] = "done",
            ["public.part_1"] = "done" }, by_name(answer, "table"))
        assert.equal(50, db:value "select reltuples::int from pg_class where relname = 'plain'")
        status, answer = act(db, "vacuumTables")
        assert.equal(200, status)
        assert.same({ ['odd "schema.Ta ble'] = "done", ["public.plain"] = "done", ["public.part_1"] = "done" },
            by_name(answer, "table"))
        assert.is_true(db:value "select relallvisible > 0 from pg_class where relname = 'plain'")
        assert.equal("vacuumTables: 3 done", answer.message)
    end)

    it("leaves the session as it was, with no lock", function()
        local settings = [[select current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')
            || ' ' || (select count(*) from pg_locks where locktype = 'advisory')]]
        local before = db:value(settings)
        assert.equal(200, (act(db, "analyzeTables")))
        assert.equal(before, db:value(settings))
    end)

    it("works on tables that the role owns, and only on those", function()
        local owner = closing(open { url = server.url { database = "http_maintenance", user = "http_owner" } })
        local status, answer = act(owner, "analyzeTables")
        assert.equal(200, status)
        assert.same({}, answer.results)
    end)

    it("makes the indexes of the application once, and says so when it names none", function()
        assert(db:script [[create schema elsewhere; create table elsewhere.t (id int);
            create index plain_kind on elsewhere.t (id)]])
        local indexes = {
            { name = "plain_kind", on = "plain (kind)" },
            { name = "Plain Unique", on = "plain (id, kind)", unique = true, where = "id > 10" },
        }
        local status, answer = act(db, "createIndexes", { indexes = indexes })
        assert.equal(200, status)
        assert.same({ plain_kind = "done", ["Plain Unique"] = "done" }, by_name(answer, "index"))
        assert.matches("CREATE UNIQUE INDEX \"Plain Unique\" .* WHERE %(id > 10%)",
            db:value [[select indexdef from pg_indexes where indexname = 'Plain Unique']])
        status, answer = act(db, "createIndexes", { indexes = indexes })
        assert.equal(200, status)
        assert.same({ plain_kind = "exists", ["Plain Unique"] = "exists" }, by_name(answer, "index"))
        status, answer = act(db, "createIndexes")
        assert.same({ 200, "the application names no indexes (option indexes)" }, { status, answer.message })
        assert.same({}, answer.results)
        status, answer = act(db, "createIndexes", { indexes = {
            { name = "bad", on = "no_such_table (id)" }, { name = "good", on = "plain (id)" } } })
        assert.equal(500, status)
        assert.same({ bad = "failed", good = "done" }, by_name(answer, "index"))
        assert.equal('relation "no_such_table" does not exist', answer.results[1].error)
        assert(db:script "drop schema elsewhere cascade")
    end)

    it("builds bloated and invalid indexes anew, and leaves the others alone", function()
        assert(db:script [[create table sound (id int primary key); insert into sound select generate_series(1, 60000);
            create table bloated (id int primary key, kind text);
            insert into bloated select g, 'kind ' || g from generate_series(1, 60000) g;
            create index bloated_kind on bloated (kind); create index bloated_broken on bloated (kind);
            delete from bloated where id % 50 <> 0;
            update pg_index set indisvalid = false where indexrelid = 'bloated_broken'::regclass]])
        local indexes = { { name = "bloated_broken", on = "bloated (kind)" } }
        local status, answer = act(db, "createIndexes", { indexes = indexes })
        assert.same({ 200, "invalid" }, { status, answer.results[1].status })
        local before = db:value "select pg_relation_size('bloated_kind')"
        status, answer = act(db, "optimizeStorage")
        assert.equal(200, status)
        assert.same({ ["public.bloated_kind"] = "done", ["public.bloated_broken"] = "done",
            ["public.bloated_pkey"] = "done" }, by_name(answer, "index"))
        assert.is_true(db:value "select pg_relation_size('bloated_kind')" < before / 5)
        assert.is_true(db:value "select indisvalid from pg_index where indexrelid = 'bloated_broken'::regclass")
        answer = select(2, act(db, "optimizeStorage"))
        assert.same({}, by_name(answer, "index"), "what is as small as it can be is left alone")
    end)

    -- The database, whose connections wait less long for locks while maintenance has them.
    local function impatient()
        local function wrap(real, own)
            return setmetatable(own, { __index = function(_, name)
                return function(_, ...) return real[name](real, ...) end
            end })
        end
        return wrap(db, { with = function(_, fn, options)
            return db:with(function(conn)
                return fn(wrap(conn, {
                    script = function(_, text) return conn:script((text:gsub("'10s'", "100"))) end,
                }))
            end, options)
        end })
    end

    it("gives up what is locked, and tells what became of the rest", function()
        assert(db:script [[create table free (id int primary key); create table locked (id int);
            create index locked_broken on locked (id);
            update pg_index set indisvalid = false where indexrelid = 'locked_broken'::regclass]])
        local other = closing(open { url = server.url { database = "http_maintenance" } })
        other:transaction(function(tx)
            assert(tx:exec "drop index locked_broken")
            local status, answer = act(impatient(), "optimizeStorage")
            assert.equal(500, status)
            local tables = by_name(answer, "table")
            assert.equal("done", tables["public.free"])
            assert.equal("failed", tables["public.locked"])
            assert.equal("failed", by_name(answer, "index")["public.locked_broken"])
            return nil, "undone"
        end)
        assert(db:script "drop table free; drop table locked")
    end)

    it("is done by one at a time", function()
        local other = closing(open { url = server.url { database = "http_maintenance" } })
        other:with(function(conn)
            assert(conn:value "select pg_try_advisory_lock(hashtextextended('tidepool.maintenance', 0))")
            local status, answer = act(db, "analyzeTables")
            assert.same({ 409, "maintenance is under way already" }, { status, answer.error })
        end)
        assert.is_true(server.wait(function() return act(db, "analyzeTables") == 200 end))
    end)

    it("says so when the database is away", function()
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        assert.equal(503, (act(away, "analyzeTables", { health_timeout_ms = 100 })))
    end)
end)
