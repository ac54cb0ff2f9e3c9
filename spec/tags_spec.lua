--- Tags and application_name of calls and blocks: what the server sees, and what nothing can be smuggled through.
local tidepool = require "tidepool"
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local function open(options)
    local where = {
        url = server.url { application_name = "tags_spec" }, log = { queries = false, slow_ms = 0 },
        pool = { min = 0, max = 1 },
    }
    for name, value in pairs(options or {}) do where[name] = value end
    return assert(tidepool.open(where))
end

-- The text and the name of the session that runs it.
local OWN = "select query, application_name as name from pg_stat_activity where pid = pg_backend_pid()"

local function seen(db, options, sql, ...)
    local call = { sql or OWN }
    for name, value in pairs(options) do call[name] = value end
    return assert(db:one(call, ...))
end

local function percent(text)
    return (text:gsub("[^%w%-%._~]", function(char) return ("%%%02X"):format(char:byte()) end))
end

describe("tags", function()
    it("are a comment behind the text, with sorted names and values as in a URL", function()
        local db = closing(open())
        local row = seen(db, { tags = { traceparent = "00-ab-cd-01", route = "/x y?'", n = 5, flag = true } })
        assert.equal(OWN .. " /*flag='true',n='5',route='%2Fx%20y%3F%27',traceparent='00-ab-cd-01'*/", row.query)
        assert.equal(OWN, seen(db, {}).query)
        assert.equal(OWN, seen(db, { tags = {} }).query)
    end)

    it("do not fill the caches of statements, and statistics count one statement", function()
        local db = closing(open())
        for i = 1, 20 do
            local row = seen(db, { tags = { traceparent = i } },
                "select $1::int8 as a, $2::jsonb as b, $3::text[] as c", i, { x = i }, { "a", "b" })
            assert.same({ i, i, "b" }, { row.a, row.b.x, row.c[2] })
        end
        assert.equal(1, db:value "select count(*) from pg_prepared_statements where statement like 'select $1::int8%'")
        assert.equal(20, db:statements { by = "calls", limit = 1 }[1].calls)
        assert.is_true(db:stats().statements_prepared <= 3)
    end)

    it("come behind a text that ends in a comment of its own", function()
        local db = closing(open())
        assert.equal(OWN .. " -- why\n/*a='1'*/", seen(db, { tags = { a = 1 } }, OWN .. " -- why").query)
        assert.equal(OWN .. "; /*a='1'*/", seen(db, { tags = { a = 1 } }, OWN .. ";").query)
        assert.equal(OWN .. " /* why */ /*a='1'*/", seen(db, { tags = { a = 1 } }, OWN .. " /* why */").query)
    end)

    it("can be of every kind of call", function()
        local db = closing(open())
        local tags = { a = "1" }
        assert.equal(3, #assert(db:query { "select generate_series(1, 3)", tags = tags }))
        assert.equal(1, assert(db:value { "select 1", tags = tags }))
        assert.equal("SELECT", assert(db:exec { "select 1", tags = tags }).command)
        assert.equal(2, #assert(db:script { "select 1; select 2", tags = tags }))
        local sum = 0
        for row in db:each({ "select generate_series(1, $1) as i", tags = tags }, 1000) do sum = sum + row.i end
        assert.equal(500500, sum)
        assert.is_nil((db:query { "select 1 / 0", tags = tags }))
        assert.is_nil((db:query { "selec", tags = tags }))
        assert.equal(5, db:value("select $1::int", 5))
    end)

    it("of a block are those of all within, and end with it", function()
        local db = closing(open())
        local tags = { route = "/block" }
        local comment = " /*route='%2Fblock'*/"
        db:with(function(conn)
            assert.equal(OWN .. comment, conn:one(OWN).query)
            assert.equal(OWN .. " /*a='1'*/", seen(conn, { tags = { a = 1 } }).query)
            local results = assert(conn:pipeline(function(p) p:one(OWN) p:value("select $1::int", 5) end))
            assert.equal(OWN .. comment, results[1].query)
            assert.equal(5, results[2])
            assert.equal(2, #assert(conn:query_many("select $1::int", { { 1 }, { 2 } })))
            for row in conn:each(OWN) do assert.equal(OWN .. comment, row.query) end
            assert(conn:copy_out("(select 1)", function() return true end))
        end, { tags = tags })
        assert.equal(OWN, db:one(OWN).query)
        assert(db:transaction(function(tx)
            assert.equal(OWN .. comment, tx:one(OWN).query)
            return true
        end, { tags = tags }))
        db:with(function(conn)
            assert(conn:transaction(function(tx)
                assert.equal(OWN .. comment, tx:one(OWN).query)
                return true
            end, { tags = tags }))
            assert.equal(OWN, conn:one(OWN).query)
            assert.is_false((pcall(conn.transaction, conn, function() error "oh" end, { tags = tags })))
            assert.equal(OWN, conn:one(OWN).query)
        end)
        assert.is_false((pcall(db.with, db, function() error "oh" end, { tags = tags })))
        assert.equal(OWN, db:one(OWN).query)
    end)

    it("cannot end the comment, whatever is in them", function()
        local db = closing(open())
        local pieces = { "*/", "/*", "'", '"', "\\", ";", "--", "\n", "\r", "%", "$1", "é", "\1", "\127", "select 1",
            "x", "\200", "' */ ; drop table t; /*" }
        math.randomseed(7)
        for _ = 1, 200 do
            local name, value = "k", ""
            for _ = 1, math.random(6) do
                value = value .. pieces[math.random(#pieces)]
                name = name .. pieces[math.random(#pieces)]
            end
            local row = seen(db, { tags = { [name] = value } })
            assert.equal(OWN .. " /*" .. percent(name) .. "='" .. percent(value) .. "'*/", row.query)
        end
    end)

    it("that are wrong are a mistake of the program", function()
        local db = closing(open())
        for _, tags in ipairs { "x", 5, { 1 }, { [""] = 1 }, { a = {} }, { a = print }, { a = ("x"):rep(5000) } } do
            assert.error_matches(function() db:query { "select 1", tags = tags } end, "tags")
            assert.is_false((pcall(db.with, db, print, { tags = tags })))
            assert.is_false((pcall(db.transaction, db, print, { tags = tags })))
        end
        assert.error_matches(function() db:query { "select 1", application_name = 5 } end, "application_name")
        assert.is_false((pcall(db.with, db, print, { application_name = 5 })))
        assert.error_matches(function() db:query_many({ "select $1::int", tags = { a = 1 } }, { { 1 } }) end, "block")
        assert.error_matches(function()
            db:pipeline(function(p) p:query { "select 1", tags = { a = 1 } } end)
        end, "item")
    end)

    it("are in the events of the call", function()
        local db = closing(open())
        local started = {}
        db:on("query_start", function(event) started[#started + 1] = event.tags or false end)
        assert(db:query { "select 1", tags = { a = 1 } })
        assert(db:query "select 1")
        db:with(function(conn) assert(conn:query "select 1") end, { tags = { b = 2 } })
        assert(db:query "select 1")
        assert.same({ { a = 1 }, false, { b = 2 }, false }, started)
    end)

    it("are the same where statements are not prepared", function()
        local db = closing(open { prepare = false })
        assert.equal(OWN .. " /*a='1'*/", seen(db, { tags = { a = 1 } }).query)
        assert.equal(7, db:value({ "select $1::int", tags = { a = 1 } }, 7))
    end)
end)

describe("application_name", function()
    it("of a call is the session's while it runs, and no longer", function()
        local db = closing(open())
        assert.equal("tags_spec", seen(db, {}).name)
        assert.equal("report", seen(db, { application_name = "report" }).name)
        assert.equal("report", seen(db, { application_name = "report" }).name)
        assert.equal("other", seen(db, { application_name = "other", tags = { a = 1 } }).name)
        assert.equal("tags_spec", seen(db, {}).name)
        assert.equal("tags_spec", seen(db, {}).name)
    end)

    it("of a block is that of all within", function()
        local db = closing(open())
        db:with(function(conn)
            assert.equal("job", conn:one(OWN).name)
            assert.equal("inner", seen(conn, { application_name = "inner" }).name)
            assert.equal("job", conn:one(OWN).name)
            assert.equal("job", assert(conn:pipeline(function(p) p:one(OWN) end))[1].name)
            for row in conn:each(OWN) do assert.equal("job", row.name) end
        end, { application_name = "job" })
        assert.equal("tags_spec", db:one(OWN).name)
    end)

    it("is right behind a transaction that is rolled back, and in one that has failed", function()
        local db = closing(open())
        db:transaction(function(tx)
            assert.equal("job", tx:one(OWN).name)
            return nil, "no"
        end, { application_name = "job" })
        assert.equal("tags_spec", db:one(OWN).name)
        db:transaction(function(tx)
            assert.is_nil((tx:query "select 1 / 0"))
            local _, err = tx:query "select 1"
            assert.equal("25P02", err.code)
            return true
        end, { application_name = "job" })
        assert.equal("tags_spec", db:one(OWN).name)
        assert.equal("late", seen(db, { application_name = "late" }).name)
        assert.equal("tags_spec", db:one(OWN).name)
    end)

    it("is cut and cleaned to what the server keeps of it", function()
        local db = closing(open())
        assert.equal(("x"):rep(63), seen(db, { application_name = ("x"):rep(100) }).name)
        assert.equal("a?b??c??; select", seen(db, { application_name = "a'b\\\nc\200\1; select" }).name)
        assert.equal("tags_spec", db:one(OWN).name)
    end)

    loops.each(function(loop)
        it("and tags are of their own task", loop.tasks(function()
            local db = loop.open()
            local done = 0
            for i = 1, 6 do
                loop.spawn(function()
                    for _ = 1, 5 do
                        local row = seen(db, { application_name = "task " .. i, tags = { task = i } })
                        assert(row.name == "task " .. i, row.name)
                        assert(row.query == OWN .. (" /*task='%d'*/"):format(i), row.query)
                        assert(db:with(function(conn) return conn:one(OWN).query end, { tags = { w = i } })
                            == OWN .. (" /*w='%d'*/"):format(i))
                    end
                    done = done + 1
                end)
            end
            loop.wait(function() return done == 6 end)
            assert.equal(6, done)
        end))
    end, loops.concurrent)
end)

portable.only_5_4("the examples are written for it", function()
    describe("examples/tracing.lua", function()
        it("does what it shows", function()
            local output, code = server.sh(("DATABASE_URL='%s' %s examples/tracing.lua")
                :format(server.url(), os.getenv "LUA" or "lua5.4"))
            assert.equal(0, code, output)
            assert.truthy(output:find("server /*route='%2Fdouble',traceparent='00-", 1, true), output)
            assert.truthy(output:find("answer 42\n", 1, true), output)
            assert.truthy(output:find("undefined_column", 1, true), output)
            assert.truthy(output:find("log    warning: slow query at examples/tracing.lua:", 1, true), output)
            assert.truthy(output:find("total  2 x select $1::int * ?", 1, true), output)
        end)
    end)
end)
