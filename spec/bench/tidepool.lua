--- The contestant that all this is about. A workload whose method is missing is answered with "not there yet".
local contest = require "spec.bench.contest"
local tidepool = require "tidepool"

local KEYS, WIDE = 100000, "select * from bench_wide"
local db = assert(tidepool.open { log = { queries = false } })

local function need(object, method)
    if not object[method] then
        error("db:" .. method .. " is not there yet", 0)
    end
end

local function point()
    local rows = assert(db:query("select * from bench_point where id = $1", math.random(KEYS)))
    assert(rows[1].id)
end

local function constant(i)
    local rows = assert(db:query("select $1::int as number", i))
    assert(rows[1].number == i)
end

-- `amount` whole results; the collector runs as it does in a program that says nothing about it.
local function whole(as, use)
    local call = { WIDE, as = as }
    return function(amount, watch)
        if not pcall(db.query, db, { "select 1", as = as }) then
            error(("as = %q is not there yet"):format(as), 0)
        end
        for _ = 1, amount do
            watch:start()
            local rows = assert(db:query(call))
            watch:stop(use(rows))
        end
    end
end

local function count(rows)
    return #rows
end

local function count_of_columns(columns)
    assert(#columns.name == columns.count)
    return columns.count
end

-- Reads one column of lazy rows.
local function read_one(rows)
    local sum = 0
    for i = 1, #rows do
        sum = sum + rows[i].id
    end
    assert(sum == #rows * (#rows + 1) // 2)
    return #rows
end

local function each_wide(amount, watch)
    need(db, "each")
    for _ = 1, amount do
        watch:start()
        local rows = 0
        for row in db:each(WIDE) do
            rows = rows + (row.id and 1 or 0)
        end
        watch:stop(rows)
    end
end

-- Memory counts from row 100,000 on: by then everything that a stream needs is there.
local function each_long(amount, watch)
    need(db, "each")
    local rows, resident = 0, nil
    watch:start()
    for _ in db:each("select * from bench_series($1)", amount) do
        rows = rows + 1
        if rows == KEYS then
            resident = contest.resident_kb()
        end
    end
    watch:stop(rows)
    watch.kb = contest.resident_kb() - (resident or 0)
end

local list = contest.insert_rows()
local INSERT = "insert into bench_insert values ($1, $2, $3, $4)"

-- Runs fn `amount` times, each time into an empty table.
local function filling(method, fn)
    return function(amount, watch)
        need(db, method)
        for _ = 1, amount do
            assert(db:exec "truncate bench_insert")
            watch:start()
            local answer = assert(fn())
            watch:stop(#list)
            assert(answer == true or answer.count == #list)
        end
    end
end

local function insert_many()
    return db:transaction(function(tx)
        return tx:query_many(INSERT, list)
    end)
end

local function insert_pipeline()
    return db:transaction(function(tx)
        local results = tx:pipeline(function(p)
            for i = 1, #list do
                local row = list[i]
                p:query(INSERT, row[1], row[2], row[3], row[4])
            end
        end)
        return results and #results == #list
    end)
end

local function insert_singly()
    return db:transaction(function(tx)
        for i = 1, #list do
            local row = list[i]
            assert(tx:exec(INSERT, row[1], row[2], row[3], row[4]))
        end
        return true
    end)
end

local TARGET = "bench_insert(id, name, score, active)"

-- From an iterator: each row is made when it is asked for.
local function copy_iterator(format)
    return function()
        local i = 0
        return db:copy_in(TARGET, function()
            if i < #list then
                i = i + 1
                return { i, list[i][2], i * 0.5, i % 3 == 0 }
            end
        end, { format = format })
    end
end

local function copy_list()
    return db:copy_in(TARGET, list)
end

local strings = {}
do
    local lines = {}
    for i, row in ipairs(list) do
        lines[i] = ("%d\t%s\t%.15g\t%s\n"):format(row[1], row[2], row[3], row[4] and "t" or "f")
    end
    local text = table.concat(lines)
    for at = 1, #text, 8192 do
        strings[#strings + 1] = text:sub(at, at + 8191)
    end
end

local function copy_strings()
    local i = 0
    return db:copy_in(TARGET, function()
        i = i + 1
        return strings[i]
    end, { raw = true })
end

-- Holds connections at the same time, each of which serves a query, and gives them back.
local pool
local function idle(amount, watch)
    pool = pool or assert(tidepool.open { log = { queries = false }, pool = { min = 0, max = 20 } })
    local held = {}
    for i = 1, amount do
        held[i] = assert(pool:acquire())
        assert(held[i]:value "select 1")
    end
    for i = 1, amount do
        held[i]:release()
    end
    collectgarbage()
    watch.operations, watch.kb = amount, contest.resident_kb()
end

contest.serve("tidepool", {
    { "W1", contest.repeated(point) },
    { "W2", contest.repeated(constant) },
    { "W3", whole("rows", count) },
    { "W3.arrays", whole("arrays", count) },
    { "W3.columns", whole("columns", count_of_columns) },
    { "W3.lazy", whole("lazy", read_one) },
    { "W3.each", each_wide },
    { "EACH", each_long },
    { "W6", filling("query_many", insert_many) },
    { "W6.pipeline", filling("pipeline", insert_pipeline) },
    { "W6.single", filling("transaction", insert_singly) },
    { "W7", filling("copy_in", copy_iterator "text") },
    { "W7.binary", filling("copy_in", copy_iterator "binary") },
    { "W7.list", filling("copy_in", copy_list) },
    { "W7.strings", filling("copy_in", copy_strings) },
    { "MEM", idle },
})
