--- lua-dbi with its PostgreSQL driver: prepared statements.
local contest = require "spec.bench.contest"
local DBI = contest.need "DBI"
contest.need "dbd.postgresql"

local where = contest.database()

local function connect()
    local connection = assert(DBI.Connect("PostgreSQL", where.database, where.user, where.password, where.host,
        where.port))
    connection:autocommit(true)
    return connection
end

local connection = connect()
local select_point = assert(connection:prepare "select * from bench_point where id = $1")
local select_constant = assert(connection:prepare "select $1::int as number")
local select_wide = assert(connection:prepare "select * from bench_wide")
local insert_one = assert(connection:prepare "insert into bench_insert values ($1, $2, $3, $4)")
local truncate = assert(connection:prepare "truncate bench_insert")

local function point()
    assert(select_point:execute(math.random(100000)))
    assert(select_point:fetch(true).id)
end

local function constant(i)
    assert(select_constant:execute(i))
    assert(select_constant:fetch(true).number == i)
end

local function wide(amount, watch)
    for _ = 1, amount do
        watch:start()
        local rows = {}
        assert(select_wide:execute())
        for row in select_wide:rows(true) do
            rows[#rows + 1] = row
        end
        watch:stop(#rows)
    end
end

local list = contest.insert_rows()
local function insert(amount, watch)
    for _ = 1, amount do
        assert(truncate:execute())
        connection:autocommit(false)
        watch:start()
        for i = 1, #list do
            local row = list[i]
            assert(insert_one:execute(row[1], row[2], row[3], row[4]))
        end
        assert(connection:commit())
        watch:stop(#list)
        connection:autocommit(true)
    end
end

local held = {}
local function idle(amount, watch)
    while #held < amount do
        held[#held + 1] = connect()
        local statement = assert(held[#held]:prepare "select 1 as one")
        assert(statement:execute())
        statement:close()
    end
    collectgarbage()
    watch.operations, watch.kb = amount, contest.resident_kb()
end

contest.serve("lua-dbi " .. (DBI._VERSION or ""), {
    { "W1", contest.repeated(point) },
    { "W2", contest.repeated(constant) },
    { "W3", wide },
    { "W6", insert },
    { "MEM", idle },
})
