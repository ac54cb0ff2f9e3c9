--- pgmoon over LuaSocket. Numbers are cast in the SQL: it sends them as numeric, and the index would not be used.
local contest = require "spec.bench.contest"
local pgmoon = contest.need "pgmoon"
contest.need "socket"

local where = contest.database()

local function connect()
    local connection = pgmoon.new {
        host = where.host, port = where.port, database = where.database, user = where.user, password = where.password,
        socket_type = "luasocket",
    }
    local connected, problem = connection:connect()
    if not connected then
        contest.absent("pgmoon cannot connect: " .. tostring(problem))
    end
    return connection
end

local connection = connect()

local function point()
    local rows = assert(connection:query("select * from bench_point where id = $1::int", math.random(100000)))
    assert(rows[1].id)
end

local function constant(i)
    assert(connection:query("select $1::int as number", i)[1].number == i)
end

local function wide(amount, watch)
    for _ = 1, amount do
        watch:start()
        local rows = assert(connection:query "select * from bench_wide")
        watch:stop(#rows)
    end
end

local list = contest.insert_rows()
local function insert(amount, watch)
    for _ = 1, amount do
        assert(connection:query "truncate bench_insert")
        watch:start()
        assert(connection:query "begin")
        for i = 1, #list do
            local row = list[i]
            assert(connection:query("insert into bench_insert values ($1, $2, $3, $4)", row[1], row[2], row[3], row[4]))
        end
        assert(connection:query "commit")
        watch:stop(#list)
    end
end

local held = {}
local function idle(amount, watch)
    while #held < amount do
        held[#held + 1] = connect()
        assert(held[#held]:query "select 1")
    end
    collectgarbage()
    watch.operations, watch.kb = amount, contest.resident_kb()
end

contest.serve("pgmoon " .. (pgmoon.VERSION or ""), {
    { "W1", contest.repeated(point) },
    { "W2", contest.repeated(constant) },
    { "W3", wide },
    { "W6", insert },
    { "MEM", idle },
})
