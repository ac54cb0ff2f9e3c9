-- Hearing of what others do: LISTEN and NOTIFY, and what to do where notifications may be missing.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/notifications.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { pool = { min = 0, max = 4 }, log = { queries = false } })
assert(db:script [[
    drop table if exists example_stock;
    create table example_stock (item text primary key, pieces int not null);
    insert into example_stock values ('boat', 3), ('oar', 12);
    create or replace function example_stock_changed() returns trigger language plpgsql as $$
    begin
        perform pg_notify('example_stock', new.item);
        return null;
    end $$;
    create trigger changed after update on example_stock for each row execute function example_stock_changed();
]])

-- A copy of the table that is kept up to date: listen first, then read, so that nothing is missed in between.
local listener <close> = assert(db:listen("example_stock", { limit = 100 }))
local stock = {}
local function read_all()
    for _, row in ipairs(assert(db:query "select item, pieces from example_stock")) do
        stock[row.item] = row.pieces
    end
end
read_all()

-- Notifications of a transaction come when it is committed.
assert(db:transaction(function(tx)
    assert(tx:exec "update example_stock set pieces = pieces - 1 where item = 'boat'")
    return tx:exec "update example_stock set pieces = pieces - 2 where item = 'oar'"
end))
db:evict_all() -- as if the connection had been lost

while true do
    local note = listener:next(1000)
    if not note then
        break -- nothing has come for a second
    elseif note.gap then
        print("gap: " .. note.reason .. ", so all is read again")
        read_all()
    else
        stock[note.payload] = db:value("select pieces from example_stock where item = $1", note.payload)
        print(("%s: %d"):format(note.payload, stock[note.payload]))
    end
end
print(("at last: %d boats, %d oars"):format(stock.boat, stock.oar))
assert(db:script "drop table example_stock; drop function example_stock_changed()")
