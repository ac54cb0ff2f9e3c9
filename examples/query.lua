-- Asking for rows, one row, one value; parameters; options of one call.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/query.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })

-- A list of rows, each by the names of its columns. Parameters go behind the text; they are
-- never put into it, so nothing has to be quoted.
local rows = assert(db:query("select n, n * n as square from generate_series(1, $1::int) as n", 3))
for _, row in ipairs(rows) do
    print(("%d squared is %d"):format(row.n, row.square))
end
print(("%d rows by %s; the first column is %s, an %s"):format(rows.count, rows.command, rows.columns[1].name,
    rows.columns[1].type))

-- The first row, or nil when there is none; the first column of the first row.
local row = assert(db:one("select current_database() as name, current_user as role"))
print(("connected to %s as %s"):format(row.name, row.role))
print("the answer is " .. assert(db:value("select $1::int + $2::int", 40, 2)))

-- nil is NULL, also in the middle of the parameters. A row that has NULL has no such field.
local coalesced = assert(db:value("select coalesce($1::text, $2::text, $3::text)", nil, "the second", nil))
print("the first that is not NULL is " .. coalesced)

-- Nothing found is nil as well, but without an error.
local nobody, err = db:one("select 1 as found where false")
print(("nothing found: %s, error: %s"):format(nobody, err))

-- Options of one call stand in a table with the text: rows as lists, numeric as numbers, a time limit.
local list = assert(db:query({ "select 1.5::numeric, 'text'", as = "arrays", numbers = true, timeout_ms = 2000 }))
print("a row as a list: " .. list[1][1] .. ", " .. list[1][2])

-- exec tells what a statement has done; script runs several statements, without parameters.
local conn <close> = assert(db:acquire())
assert(conn:script("create temp table pools (name text, depth float8); insert into pools values ('north', 0.4)"))
local done = assert(conn:exec("insert into pools select 'pool ' || n, n / 10.0 from generate_series(1, $1::int) n", 5))
print(("%s of %d rows"):format(done.command, done.count))
