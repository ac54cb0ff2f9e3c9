--- luasql.postgres. It has no parameters and no prepared statements: values are put into the text, and every value
--- comes back as a string.
local contest = require "spec.bench.contest"
local luasql = contest.need "luasql.postgres"

local where = contest.database()
local environment = assert(luasql.postgres())

local function connect()
    return assert(environment:connect(where.database, where.user, where.password, where.host, where.port))
end

local connection = connect()

local function one(sql)
    local cursor = assert(connection:execute(sql))
    local row = cursor:fetch({}, "a")
    cursor:close()
    return row
end

local function point()
    assert(one("select * from bench_point where id = " .. math.random(100000)).id)
end

local function constant(i)
    assert(one("select " .. i .. "::int as number").number == tostring(i))
end

local function wide(amount, watch)
    for _ = 1, amount do
        watch:start()
        local cursor, rows = assert(connection:execute "select * from bench_wide"), {}
        local row = cursor:fetch({}, "a")
        while row do
            rows[#rows + 1] = row
            row = cursor:fetch({}, "a")
        end
        cursor:close()
        watch:stop(#rows)
    end
end

local list = contest.insert_rows()
local function insert(amount, watch)
    for _ = 1, amount do
        assert(connection:execute "truncate bench_insert")
        watch:start()
        connection:setautocommit(false)
        for i = 1, #list do
            local row = list[i]
            assert(connection:execute(("insert into bench_insert values (%d, '%s', %.17g, %s)"):format(
                row[1], connection:escape(row[2]), row[3], row[4])))
        end
        assert(connection:commit())
        connection:setautocommit(true)
        watch:stop(#list)
    end
end

local held = {}
local function idle(amount, watch)
    while #held < amount do
        held[#held + 1] = connect()
        assert(held[#held]:execute "select 1"):close()
    end
    collectgarbage()
    watch.operations, watch.kb = amount, contest.resident_kb()
end

contest.serve((luasql._VERSION or "LuaSQL"):gsub(" %(.*", "") .. " (strings)", {
    { "W1", contest.repeated(point) },
    { "W2", contest.repeated(constant) },
    { "W3", wide },
    { "W6", insert },
    { "MEM", idle },
})
