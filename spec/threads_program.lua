--- What each thread of threads_spec.lua does: every kind of call on the pool that all of them share.
-- The arguments are the pool's name, the thread's number and how often.
local name, me, rounds = ...
me, rounds = math.floor(me), math.floor(rounds) -- luv hands over floats
local tidepool = require "tidepool"

local db = assert(tidepool.open { name = name })

local function equal(expected, actual, what)
    if expected ~= actual then
        error(("%s: %s expected, got %s"):format(what, tostring(expected), tostring(actual)), 2)
    end
end

local function fails(kind, result, err)
    equal(nil, result, "a result")
    equal(kind, err.kind, tostring(err))
    return err
end

-- Parameters and results of many types, those of the catalog among them.
local function query_types(n)
    local row = assert(db:one([[select $1::int as n, $2::text[] as words, $3::jsonb as doc, $4::threads.mood as mood,
        $5::threads.pair as pair, $6::threads.mood[] as moods, $7::timestamptz is null as nothing]],
        n, { "a", "b" .. n }, { n = n, list = { me } }, "glad", { n = me, word = "w" .. n }, { "sad", "glad" }, nil))
    equal(n, row.n, "an integer")
    equal("b" .. n, row.words[2], "an array")
    equal(me, row.doc.list[1], "json")
    equal("glad", row.mood, "an enum")
    equal("w" .. n, row.pair.word, "a composite")
    equal("glad", row.moods[2], "an array of enums")
    equal(true, row.nothing, "NULL")
end

-- More texts than a connection keeps, so that statements and descriptions come and go.
local function query_texts(n)
    for i = 1, 10 do
        equal(n * i, db:value(("select $1::int * %d -- %d"):format(i, (n * 10 + i) % 300), n), "one of many texts")
    end
end

local function query_shapes(n)
    equal(3, assert(db:query { "select generate_series(1, 3) as i", as = "columns" }).i[3], "columns")
    equal(3, assert(db:query { "select generate_series(1, 3) as i", as = "lazy" })[3].i, "lazy")
    equal(n, assert(db:query({ "select $1::int", as = "arrays" }, n))[1][1], "arrays")
    local sum = 0
    for row in db:each("select i from generate_series(1, $1::int) i", 500) do
        sum = sum + row.i
    end
    equal(125250, sum, "each")
    equal(2, #assert(db:script "select 1; select 2"), "a script")
end

local function write(n, mine)
    equal(1, assert(db:exec("insert into threads." .. mine .. " values ($1, $2)", n, "row " .. n)).count, "an insert")
    equal(2, assert(db:query_many("insert into threads." .. mine .. " values ($1, 'many')",
        { { n + 1000 }, { n + 2000 } })).count, "query_many")
    local answers = assert(db:pipeline(function(p)
        p:value("select word from threads." .. mine .. " where n = $1", n)
        p:exec("update threads." .. mine .. " set word = 'two' where n = $1", n)
    end))
    equal("row " .. n, answers[1], "a pipeline's value")
    equal(1, answers[2].count, "a pipeline's count")
    equal(2, assert(db:copy_in("threads." .. mine, { { n + 3000, "copy" }, { n + 4000, "copy" } })).count, "copy_in")
    local copied = 0
    assert(db:copy_out("threads." .. mine, function() copied = copied + 1 end))
    equal(5 * n, copied, "copy_out")
end

local function transact(n, mine)
    local kept = assert(db:transaction(function(tx)
        fails("database", tx:transaction(function(inner) return inner:exec "select 1 / 0" end))
        assert(tx:exec "insert into threads.done values (1)")
        return assert(tx:value("select count(*) from threads." .. mine))
    end, { retries = 3 }))
    equal(5 * n, kept, "a transaction")
    fails("database", db:transaction(function(tx) return tx:exec "insert into threads.nowhere values (1)" end))
end

-- What others prepare becomes stale now and then, and connections end.
local function disturb(n)
    if me == 1 and n % 2 == 0 then
        assert(db:exec("alter table threads.altered " .. (n % 4 == 0 and "drop column x" or "add column x int")))
    elseif me == 2 and n % 7 == 0 then
        local conn = assert(db:acquire())
        assert(conn:exec "select 1")
        conn:discard()
    elseif me == 3 and n % 5 == 0 then
        assert(db:define_type { name = "threads.unused_" .. n, decode = tostring })
    end
    local rows, err = db:query "select * from threads.altered"
    if not rows then -- it is repeated once, and the table was altered once more meanwhile
        equal("0A000", err.code, tostring(err))
        rows = assert(db:query "select * from threads.altered")
    end
    equal(1, rows[1].n, "a row of the table that is altered")
end

local function hold(n)
    local conn = assert(db:acquire(20000))
    equal(conn:backend_pid(), conn:value "select pg_backend_pid()", "the connection's pid")
    conn:exec "do $$ begin raise notice 'hello'; end $$"
    if n % 3 == 0 then
        conn:exec "begin" -- comes back in a transaction, and is mended
    end
    conn:release()
    equal(true, db:ping(), "a ping")
    assert(db:stats().max == 3 and db:state().state == "connected" and tostring(db))
end

local heard = 0
db:on("notice", function() heard = heard + 1 end)
local mine = "of_" .. me
assert(db:exec(("create table threads.%s (n int, word text)"):format(mine)))
for n = 1, rounds do
    query_types(n)
    query_texts(n)
    query_shapes(n)
    write(n, mine)
    transact(n, mine)
    disturb(n)
    hold(n)
end
assert(heard >= rounds, "notices were lost")
assert(db:close())
return "done"
