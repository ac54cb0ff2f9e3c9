-- Rows one after the other, however many there are; limits for results that are held as a whole; other shapes of them.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/streaming.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })

-- each holds a few rows at a time: a million of them take no more memory than a hundred. The server waits while the
-- loop is busy. Its errors are raised, since a loop has no other place for them.
local sum, count = 0, 0
for row in db:each("select n, n % 7 as rest from generate_series(1, $1::int) as n", 100000) do
    if row.rest == 0 then
        sum, count = sum + row.n, count + 1
    end
end
print(("%d of 100000 are divisible by 7; together they are %d"):format(count, sum))

-- A loop may be left at any row: what the server still has to say is stopped or dropped, and the connection goes back.
for row in db:each { "select generate_series(1, 1000000000) as n", as = "arrays" } do
    if row[1] ^ 2 > 1000 then
        print(("the first whose square is over 1000 is %d"):format(row[1]))
        break
    end
end

-- An error in the middle comes behind the rows that came before it.
local seen = 0
local ok, err = pcall(function()
    for _ in db:each "select 10 / (4 - n) from generate_series(1, 10) as n" do
        seen = seen + 1
    end
end)
print(("%s after %d rows: %s"):format(ok, seen, err.name))

-- In a transaction each sees what the transaction sees, and leaves it as it is.
assert(db:transaction(function(tx)
    assert(tx:exec("create temp table tides (height float8) on commit drop"))
    assert(tx:exec("insert into tides select sin(n / 10.0) from generate_series(1, 500) as n"))
    local highest = -math.huge
    for row in tx:each "select height from tides" do
        highest = math.max(highest, row.height)
    end
    print(("the highest tide: %.3f"):format(highest))
    return true
end))

-- timeout_ms is the longest wait for more rows; a loop that takes its time is no reason to end.
ok, err = pcall(function()
    for _ in db:each { "select pg_sleep(10)", timeout_ms = 50 } do end
end)
print(("%s: %s"):format(ok, err.kind))

-- A result that is wanted as a whole can be limited.
local rows
rows, err = db:query { "select generate_series(1, 1000000)", max_rows = 1000 }
print(("%s: %s"):format(rows, err.message))

-- Columns are one list each: the fastest way to many numbers. Lazy rows decode a cell when it is read.
local columns = assert(db:query { "select n, sqrt(n) as root from generate_series(1, 4) as n", as = "columns" })
print(table.concat(columns.n, " "), table.concat(columns.root, " ", 1, 1), #columns.root)
local lazy = assert(db:query { "select n, repeat('x', n) as bar from generate_series(1, 1000) as n", as = "lazy" })
print(#lazy, lazy[5].bar, lazy[5].n)
