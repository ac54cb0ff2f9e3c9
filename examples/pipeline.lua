-- Many statements in one round trip: a pipeline of different ones, or one with many lists of parameters.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/pipeline.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })
assert(db:script [[
    drop table if exists tidepool_levels;
    create table tidepool_levels (
        station text, hour int, level float8 check (level < 10), primary key (station, hour))]])

-- The function collects statements; they are sent when it returns. The answers stand in the order of the statements.
local answers = assert(db:pipeline(function(p)
    p:exec("insert into tidepool_levels values ($1, $2, $3)", "north", 0, 1.25)
    p:exec("insert into tidepool_levels values ($1, $2, $3)", "south", 0, 2.5)
    p:query("select station, level from tidepool_levels order by station")
    p:one("select max(level) as highest from tidepool_levels")
    p:value("select count(*) from tidepool_levels")
end))
print(("%s %d, %s %d"):format(answers[1].command, answers[1].count, answers[2].command, answers[2].count))
print(("%s has %.2f, the highest is %.2f, there are %d"):format(answers[3][1].station, answers[3][1].level,
    answers[4].highest, answers[5]))

-- query_many executes one statement for each list of parameters, and says how many rows it touched. tidepool.null is
-- NULL in a list. The batch may be larger than any buffer.
local lists = {}
for hour = 1, 10000 do
    lists[hour] = { "east", hour, hour % 100 == 0 and tidepool.null or 3 + math.sin(hour / 2) }
end
local done = assert(db:query_many("insert into tidepool_levels values ($1, $2, $3)", lists))
print(("%s of %d rows"):format(done.command, done.count))

-- With RETURNING there is a result for each list.
local moved = assert(db:query_many("update tidepool_levels set level = level + $2 where station = $1 returning level",
    { { "north", 0.5 }, { "south", -0.5 } }))
print(("moved %d: %.2f and %.2f"):format(moved.count, moved[1][1].level, moved[2][1].level))

-- Outside of a transaction a pipeline is done as a whole or not at all; the error says which item was the cause.
local result, err = db:pipeline(function(p)
    p:exec("delete from tidepool_levels where station = $1", "east")
    p:exec("insert into tidepool_levels values ($1, $2, $3)", "west", 0, 11)
    p:exec("delete from tidepool_levels")
end)
print(("%s: item %d, %s"):format(result, err.item, err.constraint))
print(("still there: %d"):format(db:value("select count(*) from tidepool_levels")))

-- In a transaction it is a part of that.
local counted = assert(db:transaction(function(tx)
    assert(tx:query_many("delete from tidepool_levels where station = $1", { { "east" }, { "west" } }))
    return tx:value("select count(*) from tidepool_levels")
end))
print(("left: %d"):format(counted))

assert(db:exec("drop table tidepool_levels"))
