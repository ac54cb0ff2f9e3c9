-- Values of Lua and values of PostgreSQL.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/types.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })

local function value(sql, ...)
    return assert(db:value(sql, ...))
end

-- Integers are exact up to 64 bits, float8 is a float; numeric is a string with all its digits, or a
-- number where asked.
print(value("select $1::bigint", math.maxinteger), math.type(value("select 5::float8")))
print(value("select 0.10::numeric"), value { "select 0.10::numeric", numbers = true })

-- Booleans are booleans; dates and times are strings as the server writes them; so is uuid.
print(value("select $1::bool or false", true), value("select $1::date + 1", "2026-02-28"))

-- A table is an array where an array is expected, in both directions and in several dimensions.
local squares = value("select array_agg(n * n) from unnest($1::int[]) as n", { 1, 2, 3 })
print(table.concat(squares, " "), value("select $1::int[]", { { 1, 2 }, { 3, 4 } })[2][1])

-- A NULL in a table is tidepool.null; a NULL column is nil, or tidepool.null where asked.
local holes = value("select $1::text[]", { "a", tidepool.null, "c" })
print(holes[1], holes[2] == tidepool.null, holes[3])
print(assert(db:one("select null as nothing")).nothing,
    assert(db:one { "select null as nothing", nulls = true }).nothing == tidepool.null)

-- A table is JSON where JSON is expected. tidepool.array marks a table that may be empty as a list, and
-- tidepool.json sends any value as JSON: plain strings are taken for JSON text.
local document = value("select $1::jsonb || '{\"depth\": 1.5}'", { name = "north", tags = { "cold", "deep" } })
print(document.name, document.depth, #document.tags)
print(value("select $1::jsonb::text", tidepool.array {}), value("select $1::jsonb::text", {}),
    value("select $1::jsonb::text", tidepool.json("plain")))

-- bytea is a string of bytes, NUL and all; text has none.
local bytes = value("select $1::bytea || '\\x00ff'::bytea", "\0\1\2")
print(#bytes, bytes:byte(1, -1))
local _, err = db:value("select $1::text", "cut\0here")
print(err)
