-- COPY: many rows into a table and out of it, from lists, functions, strings and files.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/copy.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false, slow_ms = 0 } })
local conn <close> = assert(db:acquire()) -- temporary tables belong to one connection
assert(conn:exec("create temp table reading (id int primary key, at timestamptz, celsius float8, tags text[])"))

-- Rows from a function: each is made when it is wanted, so there may be any number of them.
local function readings(from, to)
    local id = from - 1
    return function()
        id = id + 1
        if id <= to then
            return { id, "2026-03-01 12:00:00+00", 20 + id % 7 / 2, id % 2 == 0 and { "even", "ok" } or tidepool.null }
        end
    end
end
local done = assert(conn:copy_in("reading", readings(1, 100000), {
    progress = function(rows, bytes)
        if rows == 100000 then print(("sent %d rows in %d kB"):format(rows, bytes // 1024)) end
    end,
}))
print(("%d rows stored"):format(done.count))

-- Rows by column name from a list; what a row does not have is NULL.
assert(conn:copy_in("reading(id, celsius)", { { id = 100001, celsius = -1.5 }, { id = 100002 } }))

-- A mistake in any row, and nothing is stored. The connection goes on.
local _, err = conn:copy_in("reading(id, celsius)", { { 100003, 5 }, { 100004, "warm" } })
print(err.message)
_, err = conn:copy_in("reading(id, celsius)", { { 100003, 5 }, { 100004 } })
print(err.message)
_, err = conn:copy_in("reading(id, celsius)", { { 100003, 5 }, { 1, 5 } })
print(err.name, err.where)

-- Out again, row by row: from a table, some of its columns, or a query. false ends it early.
local warmest = 0
assert(conn:copy_out("reading(celsius)", function(row)
    warmest = math.max(warmest, row[1] or 0)
end, { format = "binary" }))
print("the warmest is " .. warmest)
local answer = assert(conn:copy_out("(select id, tags from reading order by id)", function(row)
    print(row.id, row.tags and table.concat(row.tags, ", ") or "no tags")
    return row.id < 3
end, { as = "rows" }))
print(("stopped after %d rows: %s"):format(answer.count, answer.stopped))

-- Ready data: CSV into a file, and from there into another table.
local file = assert(io.tmpfile())
assert(conn:copy_out("(select id, celsius from reading where id > 99998)", file, { format = "csv", header = true }))
file:seek("set")
print((file:read("a"):gsub("\n", " | ")))
file:seek("set")
assert(conn:exec("create temp table copied (id int, celsius float8)"))
print(assert(conn:copy_in("copied", file, { format = "csv", header = true })).count .. " rows copied")
file:close()
