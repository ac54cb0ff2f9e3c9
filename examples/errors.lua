-- Errors: what can happen at run time comes back as nil, err; error() is for wrong arguments only.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/errors.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })
local conn <close> = assert(db:acquire())
assert(conn:script [[
    create temp table users (id int primary key, email text unique);
    insert into users values (1, 'a@b')]])

local function show(title, result, err)
    print(("%s: %s"):format(title, result))
    for _, field in ipairs { "kind", "code", "name", "message", "detail", "constraint", "position", "retryable" } do
        if err[field] ~= nil then
            print(("    err.%-11s %s"):format(field, tostring(err[field])))
        end
    end
end

-- The server's errors have its code, the name of the condition, and the table, column or constraint.
show("a duplicate", conn:exec("insert into users values ($1, $2)", 2, "a@b"))
show("a typing error", conn:query("selekt 1"))

-- A time limit of the caller: the query is cancelled on the server.
show("too slow", db:query({ "select pg_sleep(10)", timeout_ms = 100 }))

-- What cannot be sent is refused before it is; the connection stays as good as it was.
show("a function as a parameter", conn:query("select $1::int", print))

-- tostring(err) is one line, and so is what assert shows.
local ok, raised = pcall(function()
    return assert(conn:one("select 1 / $1::int", 0))
end)
print(("assert raises the error itself: %s, %s"):format(ok, raised))

-- What an SQLSTATE means, without a server.
local state = tidepool.sqlstate("40001")
print(("40001 is %s, of class %s; worth repeating: %s"):format(state.name, state.class, state.retryable))
