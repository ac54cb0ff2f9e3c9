--- query_many, batches of any size, timeouts of pipelines, pipelines over TLS.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tls = require "spec.support.tls"
local expect = require "spec.support.expect"

local closing = portable.closing

local plain = (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") == "default"
local check = portable.assert -- for very many answers: busted's own takes longer than they do

local fails = expect.fails
local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 2 } }

local function count(target)
    return target:value "select count(*) from pipeline_batch_spec"
end

local function insert(p, ...)
    return p:exec("insert into pipeline_batch_spec values ($1, $2)", ...)
end

-- What went wrong before must not be seen afterwards.
local function assert_usable(target)
    assert.equal(7, target:value("select $1::int", 7))
    assert.equal(8, assert(target:pipeline(function(p) p:value("select $1::int", 8) end))[1])
end

local db

setup(function()
    db = open()
    server.psql "create table pipeline_batch_spec (id int primary key, name text)"
end)

before_each(function() server.psql "truncate pipeline_batch_spec" end)

teardown(function()
    db:close()
    server.psql "drop table pipeline_batch_spec"
end)

describe("query_many", function()
    local SQL = "insert into pipeline_batch_spec values ($1, $2)"

    it("executes one statement for each list, and counts the rows", function()
        assert.same({ command = "INSERT", count = 3 },
            assert(db:query_many(SQL, { { 1, "a" }, { 2, "b" }, { 3, "c" } })))
        assert.equal("a,b,c", db:value "select string_agg(name, ',' order by id) from pipeline_batch_spec")
        assert.same({ command = "UPDATE", count = 5 },
            assert(db:query_many("update pipeline_batch_spec set name = 'x' where id <= $1", { { 2 }, { 3 }, { 0 } })))
    end)

    it("gives a result for each list where there are rows", function()
        local results = assert(db:query_many(SQL .. " returning id, name", { { 1, "a" }, { 2, "b" } }))
        assert.equal(2, #results)
        assert.equal(2, results.count)
        assert.equal("INSERT", results.command)
        assert.same({ id = 2, name = "b" }, results[2][1])
        results = assert(db:query_many("select generate_series(1, $1::int) as i", { { 2 }, { 0 }, { 3 } }))
        assert.equal(3, #results)
        assert.same({ 2, 0, 3 }, { #results[1], #results[2], #results[3] })
        assert.equal(5, results.count)
        assert.equal(3, results[3][3].i)
    end)

    it("takes the options of a call", function()
        local results = assert(db:query_many({ "select $1::int, null", as = "arrays", nulls = true }, { { 1 }, { 2 } }))
        assert.same({ 2, tidepool.null }, results[2][1])
    end)

    it("takes NULL as tidepool.null, and as nil in a list that says its length", function()
        assert.equal(3, assert(db:query_many(SQL, {
            { 1, tidepool.null }, { 2, nil, n = 2 }, portable.pack(3, nil),
        })).count)
        assert.equal(3, db:value "select count(*) from pipeline_batch_spec where name is null")
    end)

    it("without lists does nothing", function()
        local result = assert(db:query_many(SQL, {}))
        assert.equal(0, result.count)
        assert.equal(0, #result)
        assert.equal(0, count(db))
    end)

    it("of a statement without parameters takes empty lists", function()
        assert.equal(3, assert(db:query_many([[insert into pipeline_batch_spec
            select count(*), 'x' from pipeline_batch_spec]], { {}, {}, {} })).count)
    end)

    it("says which list has the wrong number of parameters, or is none", function()
        local err = fails("validation", db:query_many(SQL, { { 1, "a" }, { 2 }, { 3, "c" } }))
        assert.equal(2, err.item)
        assert.truthy(err.message:find("2 parameters, 1 was given", 1, true), err.message)
        err = fails("validation", db:query_many(SQL, { { 1, "a" }, { 2, "b", "c" } }))
        assert.equal(2, err.item)
        err = fails("validation", db:query_many(SQL, { { 1 }, { 2, "b" } }))
        assert.equal(1, err.item)
        for at = 1, 2 do
            local lists = { { 1, "a" }, { 2, "b" } }
            lists[at] = "text"
            err = fails("validation", db:query_many(SQL, lists))
            assert.equal(at, err.item)
            assert.truthy(err.message:find("a list of parameters was expected, got string", 1, true), err.message)
        end
        assert.equal(0, count(db))
        assert_usable(db)
    end)

    it("says which list the server failed, and nothing is kept", function()
        local err = fails("database", db:query_many(SQL, { { 1, "a" }, { 2, "b" }, { 2, "c" }, { 4, "d" } }))
        assert.equal(3, err.item)
        assert.truthy(err.message:find "^item 3 of 4: duplicate key")
        assert.equal("unique_violation", err.name)
        assert.equal(SQL, err.query)
        assert.equal(0, count(db))
    end)

    it("refuses more parameters than the server can be asked to describe", function()
        local list = {}
        for i = 1, 7001 do
            list[i] = i
        end
        local _, err = db:query_many("select 1", { list })
        assert.equal("validation", err.kind)
        assert.is_truthy(err.message:find("at most 7000 parameters", 1, true), err.message)
        assert.equal(1, db:value "select 1")
    end)

    it("works in a transaction and on a connection", function()
        assert(db:transaction(function(tx)
            assert.equal(2, assert(tx:query_many(SQL, { { 1, "a" }, { 2, "b" } })).count)
            return true
        end))
        local conn = closing(assert(db:acquire()))
        assert.equal(1, assert(conn:query_many(SQL, { { 3, "c" } })).count)
        assert.equal(3, count(conn))
    end)

    it("fails for what is wrong with its text, and raises an error for misuse", function()
        fails("database", db:query_many("selekt $1", { { 1 } }))
        fails("validation", db:query_many("select 1\0", { {} }))
        fails("validation", db:query_many("", { {} }))
        assert.has_error(function() db:query_many(SQL) end)
        assert.has_error(function() db:query_many(SQL, 5) end)
        assert.has_error(function() db:query_many(nil, {}) end)
        assert_usable(db)
    end)
end)

describe("a batch larger than any buffer", function()
    -- Fails loudly instead of hanging, should neither side go on.
    local DEADLINE = 60000
    local ITEMS = not plain and 20000 or _VERSION == "Lua 5.4" and 200000 or 50000

    it("of many statements ends, with answers both ways", function()
        local began = server.now()
        local text = ("x"):rep(100)
        local answers = assert(db:pipeline(function(p)
            for i = 1, ITEMS do
                p:one("select $1::int as i, $2::text as t", i, text)
            end
        end, { timeout_ms = DEADLINE }))
        for i = 1, ITEMS do
            check(answers[i].i == i and answers[i].t == text)
        end
        assert.equal(ITEMS, #answers)
        print(("a pipeline of %d statements: %.0f ms"):format(ITEMS, server.now() - began))
    end)

    it("of many lists ends, with answers both ways", function()
        local lists = {}
        for i = 1, ITEMS do lists[i] = { i, "some text that is to come back" } end
        local results = assert(db:query_many({ "insert into pipeline_batch_spec values ($1, $2) returning id, name",
            as = "arrays", timeout_ms = DEADLINE }, lists))
        assert.equal(ITEMS, #results)
        assert.equal(ITEMS, results.count)
        for i = 1, ITEMS do
            check(results[i][1][1] == i and results[i][1][2] == lists[i][2])
        end
    end)

    it("of few large values ends too", function()
        local text = ("y"):rep(3000000)
        local answers = assert(db:pipeline(function(p)
            for i = 1, 12 do
                p:value("select $1::text || $2::text", text, tostring(i))
            end
        end, { timeout_ms = DEADLINE }))
        for i = 1, 12 do
            check(answers[i] == text .. i)
        end
    end)

    it("in which an early item fails ends, and names it", function()
        local text = ("z"):rep(2000)
        local err = fails("database", db:pipeline(function(p)
            for i = 1, 20000 do
                p:value("select $1::text || (1 / $2::int)", text, i == 5 and 0 or 1)
            end
        end, { timeout_ms = DEADLINE }))
        assert.equal(5, err.item)
        assert_usable(db)
    end)
end)

describe("the timeout of a pipeline", function()
    it("ends it, and the pool recovers", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        for _ = 1, 2 do
            local began = server.now()
            local err = fails("timeout", own:pipeline(function(p)
                insert(p, 1, "x")
                p:exec "select pg_sleep(20)"
                insert(p, 2, "y")
            end, { timeout_ms = 100 }))
            local took = server.now() - began
            assert.is_true(took >= 95 and took < 5000, took)
            assert.is_nil(err.item, "the server keeps its answers back, so nobody knows")
            assert_usable(own)
            assert.is_true(server.now() - began < 3000)
        end
        assert.equal(0, count(db))
    end)

    it("ends it while there is more to be sent than fits into the buffers", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        local text = ("x"):rep(10000)
        local began = server.now()
        local err = fails("timeout", own:pipeline(function(p)
            insert(p, 1, "x")
            p:exec "select pg_sleep(20)"
            for i = 2, 2000 do insert(p, i, text) end
        end, { timeout_ms = 200 }))
        assert.truthy(err.message:find("did not end within", 1, true))
        assert_usable(own)
        assert.is_true(server.now() - began < 3000, server.now() - began)
        assert.equal(0, count(db))
    end)

    it("is query_timeout_ms when the call says nothing", function()
        local own = closing(open { query_timeout_ms = 80, pool = { min = 0, max = 1 } })
        local function settle() -- the connection is mended, for which there may be more than 80 ms
            assert.is_true(server.wait(function() return own:stats().mending == 0 end))
        end
        fails("timeout", own:pipeline(function(p) p:exec "select pg_sleep(20)" end))
        settle()
        fails("timeout", own:query_many("select pg_sleep($1)", { { 20 } }))
        settle()
        local slow = assert(own:pipeline(function(p) p:exec "select pg_sleep(0.1)" end, { timeout_ms = 5000 }))
        assert.equal(1, slow[1].count)
        fails("timeout", own:query_many({ "select pg_sleep($1)", timeout_ms = 30 }, { { 20 } }))
    end)

    it("leaves a connection of one's own busy until it is released", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        local conn = assert(own:acquire())
        fails("timeout", conn:pipeline(function(p) p:exec "select pg_sleep(20)" end, { timeout_ms = 50 }))
        fails("busy", conn:pipeline(function(p) p:query "select 1" end))
        conn:release()
        assert_usable(own)
    end)
end)

describe("a pipeline over TLS", function()
    local offered, reason

    setup(function() offered, reason = tls.enable() end)
    teardown(function() if offered then tls.disable() end end)

    it("answers, fails and takes batches of any size as without", function()
        if not offered then
            pending(reason)
            return
        end
        local own = closing(open { url = tls.url(), pool = { min = 0, max = 1 } })
        assert.is_true((own:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()"))
        local text, n = ("x"):rep(200), plain and 30000 or 5000
        local answers = assert(own:pipeline(function(p)
            for i = 1, n do p:one("select $1::int as i, $2::text as t", i, text) end
        end, { timeout_ms = 60000 }))
        for i = 1, n do
            check(answers[i].i == i and answers[i].t == text)
        end
        local err = fails("database", own:pipeline(function(p)
            insert(p, 1, "x")
            insert(p, 1, "y")
            insert(p, 2, "z")
        end))
        assert.equal(2, err.item)
        err = fails("validation", own:pipeline(function(p) insert(p, 1, "x") insert(p, {}, "y") end))
        assert.equal(2, err.item)
        assert.equal(0, count(own))
        assert.equal(2, assert(own:query_many("insert into pipeline_batch_spec values ($1, $2)",
            { { 1, "a" }, { 2, "b" } })).count)
        fails("timeout", own:pipeline(function(p) p:exec "select pg_sleep(20)" end, { timeout_ms = 80 }))
        assert_usable(own)
    end)
end)
