--- What happens to a link between a client and a server, played by a proxy: what callers see, how soon, and what is
--- left.
-- Only Lua 5.4: what waits, gives up and repeats is the core.
-- Alone: how soon all is well again depends on who else is busy.
local lab = require "spec.faults.lab"
local proxy = require "spec.faults.proxy"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local fails, takes = expect.fails, expect.takes
local ends_at = lab.ends_at
local direct -- a database that the proxy has nothing to do with

lazy_setup(function()
    direct = lab.open()
    assert(direct:script [[drop table if exists link_rows; create table link_rows (id int);
        drop sequence if exists link_asked; create sequence link_asked]])
end)

lazy_teardown(function()
    assert(direct:script "drop table link_rows; drop sequence link_asked")
    direct:close()
end)

local function rows(id)
    return direct:value("select count(*) from link_rows where id = $1", id)
end

-- Calls fn(link, name) with a proxy for databases whose application_name is `name`, and looks at what is left.
local function with_proxy(fn)
    local link = proxy.start()
    local ok, err = pcall(lab.leaves_nothing, function(name) fn(link, name) end, function() link:cut() end)
    local links = link:links()
    link:stop()
    if not ok then error(err, 0) end
    assert.equal(0, links)
end

-- The same with a database: fn(db, link).
local function with_link(options, fn)
    with_proxy(function(link, name)
        local where = {
            url = link:url { application_name = name }, pool = { min = 0, max = 2, acquire_timeout_ms = 300 },
        }
        for key, value in pairs(options) do where[key] = value end
        local db <close> = lab.open(where)
        fn(db, link)
    end)
end

-- The pool gives nothing away that does not work, and has not lost a place.
local function serves_again(db)
    local conns = {}
    for i = 1, 2 do conns[i] = assert(db:acquire(6000)) end
    for i, conn in ipairs(conns) do
        assert.equal(i, conn:value("select $1::int", i))
        conn:release()
    end
    assert.equal(0, db:stats().active_connections)
end

describe("a link that is silent", function()
    it("both ways ends a statement at its deadline, which is not repeated, and others at theirs", function()
        with_link({}, function(db, link)
            assert.equal(1, db:value "select 1")
            link:hole()
            local err = ends_at(200, function()
                local sql = "select nextval('link_asked')"
                return fails("timeout", db:query { sql, timeout_ms = 200, idempotent = true })
            end)
            assert.equal(1, err.attempts)
            ends_at(300, function() return fails("pool_timeout", db:query "select 1") end)
            ends_at(100, function() return fails("pool_timeout", db:acquire(100)) end)
            link:pass()
            link:cut()
            serves_again(db)
            assert.equal(1, direct:value "select nextval('link_asked')", "nothing came through")
        end)
    end)

    it("towards the client is the same: what was sent may be done, and is done once", function()
        with_link({ query_timeout_ms = 200 }, function(db, link)
            assert.equal(0, db:value "select count(*) from link_rows where id = 1")
            link:hole "to_client"
            ends_at(200, function() return fails("timeout", db:script "insert into link_rows values (1)") end)
            assert.is_true(server.wait(function() return rows(1) == 1 end))
            link:pass()
            link:cut()
            serves_again(db)
            assert.equal(1, rows(1))
        end)
    end)

    it("towards the server ends a statement at its deadline, and nothing is done", function()
        with_link({ query_timeout_ms = 200 }, function(db, link)
            assert.equal(1, db:value "select 1")
            link:hole "to_server"
            ends_at(200, function() return fails("timeout", db:exec "insert into link_rows values (2)") end)
            link:pass()
            link:cut()
            serves_again(db)
            assert.equal(0, rows(2))
        end)
    end)

    it("in a transaction costs its block, and the pool goes on", function()
        with_link({ query_timeout_ms = 200 }, function(db, link)
            local err = fails("timeout", db:transaction(function(tx)
                assert(tx:exec "insert into link_rows values (3)")
                link:hole "to_client"
                return tx:exec "insert into link_rows values (3)"
            end))
            assert.equal(1, err.attempts)
            link:pass()
            link:cut()
            serves_again(db)
            assert.equal(0, rows(3))
        end)
    end)

    it("while it is idle is noticed when it is used: in time, and once", function()
        with_link({ query_timeout_ms = 200 }, function(db, link)
            assert.equal(1, db:value "select 1")
            link:hole()
            server.sleep(50)
            ends_at(200, function() return fails("timeout", db:value "select 1") end)
            link:pass()
            link:cut()
            serves_again(db)
        end)
    end)
end)

describe("a link that ends", function()
    for _, how in ipairs { "close", "reset" } do
        it(("by %s before the server has the statement is an error at once, and nothing is done"):format(how),
            function() with_link({}, function(db, link)
                assert.equal(1, db:value "select 1")
                link:trap("before", "link_rows values (4)", how)
                takes(0, 4 * lab.LATE_MS, function()
                    return fails("connection", db:script "insert into link_rows values (4)")
                end)
                assert.equal(1, link:caught())
                serves_again(db)
                assert.equal(0, rows(4))
            end) end)

        it(("by %s while a statement is being prepared is not noticed, and it is done once"):format(how), function()
            with_link({}, function(db, link)
                assert.equal(1, db:value "select 1")
                for _, when in ipairs { "before", "after" } do
                    link:trap(when, "insert into link_rows /* " .. when, how)
                    assert(db:exec("insert into link_rows /* " .. when .. " */ values ($1)", 7))
                end
                assert.equal(2, link:caught())
                assert.equal(2, rows(7))
                assert(direct:exec "delete from link_rows where id = 7")
            end)
        end)

        it(("by %s before the answer is an error at once, and what was done is not done again"):format(how), function()
            with_link({}, function(db, link)
                assert.equal(0, db:value "select count(*) from link_rows where id = 5")
                link:trap("after", "link_rows values (5)", how)
                local err = takes(0, 100 + lab.LATE_MS, function()
                    return fails("connection", db:script "insert into link_rows values (5)")
                end)
                assert.equal(1, err.attempts)
                assert.equal(1, link:caught())
                serves_again(db)
                assert.equal(1, rows(5))
                assert(direct:exec "delete from link_rows where id = 5")
            end)
        end)

        it(("by %s is not noticed by an idempotent call"):format(how), function()
            with_link({}, function(db, link)
                local call = { "select $1::text", idempotent = true }
                assert.equal("forty-one", db:value(call, "forty-one"))
                link:trap("after", "forty-two", how)
                assert.equal("forty-two", db:value(call, "forty-two"))
                assert.equal(1, link:caught())
            end)
        end)

        it(("by %s while it is idle is not noticed by anybody"):format(how), function()
            with_link({}, function(db, link)
                for i = 1, 20 do
                    assert.equal(i, db:value("select $1::int", i))
                    link:cut(how)
                    assert.is_true(server.wait(function() return link:links() == 0 end))
                    assert.equal(i, db:transaction(function(tx) return tx:value("select $1::int", i) end))
                end
                assert.equal(0, db:stats().query_failures)
            end)
        end)

        it(("by %s in a transaction fails the block, or has it run again when asked"):format(how), function()
            with_link({}, function(db, link)
                for retries = 0, 1 do
                    local runs = 0
                    link:trap("after", "select 'in the middle'", how)
                    local result, err = db:transaction(function(tx)
                        runs = runs + 1
                        assert(tx:exec("insert into link_rows values ($1)", 6))
                        return tx:value "select 'in the middle'"
                    end, { retries = retries })
                    assert.equal(1 + retries, runs)
                    assert.equal(retries == 1 and "in the middle" or nil, result, tostring(err))
                    assert.equal(retries, rows(6))
                end
                assert(direct:exec "delete from link_rows where id = 6")
            end)
        end)
    end
end)

describe("a link that is odd", function()
    -- Some of everything, small enough to go byte by byte.
    local function some_of_everything(db)
        local all = {}
        local function keep(...) all[#all + 1] = table.pack(...) end
        keep(db:query [[select i, i * 1.5::float8 as f, 'text ' || i as t, array[i, null] as a
            from generate_series(1, 40) i]])
        keep(db:query("select $1::int as a, $2::jsonb as j, $3::bytea as b", 7, { x = { 1, 2 } }, "\0\1\255"))
        keep(db:script "select 1 as a; select 2 as b, null as c")
        keep(db:one "select * from pg_type where typname = 'int4'")
        keep(db:copy_in("link_rows", { { 90 }, { 91 } }))
        local list = {}
        local function sink(row) list[#list + 1] = row[1] end
        keep(db:copy_out("(select id from link_rows where id >= 90 order by id)", sink))
        keep(list)
        keep(db:exec "delete from link_rows where id >= 90")
        keep(db:pipeline(function(p)
            for i = 1, 5 do p:value("select $1::int", i) end
        end))
        local _, err = db:query "select 1/0"
        keep(err.code, err.message)
        return all
    end

    it("in that it gives every byte on alone has the same results", function()
        with_link({}, function(db, link)
            link:pace(1)
            assert.same(some_of_everything(direct), some_of_everything(db))
            assert.equal(1, db:stats().query_failures)
        end)
    end)

    it("in that everything is late has the same results, late", function()
        with_link({ pool = { min = 0, max = 1 } }, function(db, link)
            link:pace(nil, 0, 20)
            assert.equal("late", db:value "select 'late'")
            assert.equal(1, takes(40, 40 + lab.LATE_MS + 20, function() return db:value { "select 1" } end))
        end)
    end)

    it("in that it trickles has the right result, or ends at the deadline", function()
        with_link({ pool = { min = 0, max = 2 } }, function(db, link)
            assert.equal(1, db:value "select 1")
            link:pace(1, 1)
            assert.equal("slow", db:value "select 'slow'")
            ends_at(200, function()
                return fails("timeout", db:query { "select repeat('x', 10000)", timeout_ms = 200 })
            end)
            link:pace()
            serves_again(db)
        end)
    end)

    it("in that it ends in the middle of anything has the right result or a clean error", function()
        local right, wrong = 0, 0
        with_proxy(function(link, name)
            for bytes = 1, 1201, 40 do
                link:truncate(bytes)
                local db <close> = lab.open {
                    url = link:url { application_name = name }, retry = { attempts = 1, base_ms = 5000, max_ms = 5000 },
                    pool = { min = 0, max = 1, acquire_timeout_ms = 30 }, query_timeout_ms = 1000,
                }
                local result, err = db:query "select i, 'text ' || i as t from generate_series(1, 10) i"
                right = right + (result and 1 or 0)
                wrong = wrong + (err and 1 or 0)
                if result then
                    assert.equal("text 10", result[10].t)
                else
                    assert.truthy(({ connection = true, pool_timeout = true })[err.kind], tostring(err))
                end
            end
        end)
        assert.is_true(right > 2 and wrong > 10, ("%d right, %d wrong"):format(right, wrong))
    end)

    it("in that no new one can be had serves from those there are, and others when it can again", function()
        with_link({ retry = { base_ms = 10, max_ms = 50 }, breaker = { failures = 0 } }, function(db, link)
            local conn = assert(db:acquire())
            link:refuse()
            assert.equal(1, conn:value "select 1")
            local err = ends_at(300, function() return fails("pool_timeout", db:query "select 1") end)
            assert.truthy(err.message:find("refused", 1, true), err.message)
            assert.equal(1, conn:value "select 1")
            link:accept()
            assert.equal(1, takes(0, 100 + lab.LATE_MS, function() return db:value "select 1" end))
            conn:release()
            serves_again(db)
        end)
    end)

    it("in that no new one can be had does not hold up a block whose connection is lost past its deadline", function()
        local patient = { min = 0, max = 2, acquire_timeout_ms = 5000 }
        with_link({ breaker = { failures = 0 }, pool = patient }, function(db, link)
            local function loses_it(query, options)
                local pid = db:value "select pg_backend_pid()"
                takes(0, 600 + lab.LATE_MS, function()
                    db:with(function(conn) -- was not looked at yet
                        link:refuse()
                        assert.is_true(direct:value("select pg_terminate_backend($1, 5000)", pid))
                        assert.is_nil((conn:query(query)))
                    end, options)
                end)
                link:accept()
            end
            loses_it("select 1", { deadline_ms = 500 })
            loses_it { "select 1", timeout_ms = 500 }
            serves_again(db)
        end)
    end)
end)
