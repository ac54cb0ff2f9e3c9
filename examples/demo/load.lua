--- Loads the data set: thousands of rows in one statement, each column as one array
-- parameter, each table in one transaction.
local terminal = require "demo.terminal"

local M = {}

local rows_at_once = 4000

-- `columns` are in the order of the parameters; the statement turns them into rows again.
local steps = {
    {
        from = "organisers", into = "admin_users", columns = { "id", "email", "name", "country" },
        sql = [[
            insert into admin_users (id, email, name, country, created_at)
            select *, timestamptz '2022-01-01 UTC'
              from unnest($1::bigint[], $2::text[], $3::text[], $4::text[])]],
    },
    {
        from = "users", into = "users", columns = { "id", "email", "name", "country", "language", "created" },
        sql = [[
            insert into users (id, email, name, country, language, created_at)
            select id, email, name, country, language, timestamptz '2025-01-01 UTC' + created * interval '1 minute'
              from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
                as u (id, email, name, country, language, created)]],
    },
    {
        from = "events", into = "events",
        columns = { "id", "title", "language", "organizer", "venue", "country", "date", "deadline", "cents",
            "capacity", "status" },
        sql = [[
            insert into events (id, title, language, organizer_id, venue, country, event_date,
                                registration_deadline, price, capacity, status)
            select id, title, language, organizer, venue, country,
                   timestamptz '2025-01-01 UTC' + date * interval '1 minute',
                   timestamptz '2025-01-01 UTC' + deadline * interval '1 minute',
                   cents / 100.0, capacity, status::event_status
              from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::int[],
                          $8::int[], $9::int[], $10::int[], $11::text[])
                as e (id, title, language, organizer, venue, country, date, deadline, cents, capacity, status)]],
    },
    {
        from = "registrations", into = "registrations", columns = { "id", "user", "event", "status", "date" },
        sql = [[
            insert into registrations (id, user_id, event_id, payment_status, registration_date)
            select id, user_id, event_id, status::payment_status,
                   timestamptz '2025-01-01 UTC' + date * interval '1 minute'
              from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::int[])
                as r (id, user_id, event_id, status, date)]],
    },
    {
        from = "payments", into = "payment_history",
        columns = { "id", "registration", "reference", "method", "cents", "status", "date" },
        sql = [[
            insert into payment_history (id, registration_id, payment_reference, method, amount, status,
                                         transaction_date)
            select id, registration, reference, method, cents / 100.0, status::payment_status,
                   timestamptz '2025-01-01 UTC' + date * interval '1 minute'
              from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::int[], $6::text[], $7::int[])
                as p (id, registration, reference, method, cents, status, date)]],
    },
}

local function slices(rows, columns, from, to)
    local out = {}
    for i, name in ipairs(columns) do
        out[i] = table.move(rows[name], from, to, 1, {})
    end
    return out
end

-- The ids came with the rows; the next one is the table's own to give.
local set_next_id = [[
    select setval(pg_get_serial_sequence($1, 'id'), (select max from (select max(id) from %s) as last))]]

local function load_table(db, step, rows, progress)
    return assert(db:transaction(function(tx)
        local done = 0
        while done < rows.count do
            local last = math.min(done + rows_at_once, rows.count)
            local result = assert(tx:exec(step.sql, table.unpack(slices(rows, step.columns, done + 1, last))))
            done = done + result.count
            progress:update(done)
        end
        assert(tx:value(set_next_id:format(step.into), step.into))
        return done
    end))
end

--- Loads all tables.
-- @return the number of rows
function M.run(db, data)
    local total = 0
    for _, step in ipairs(steps) do
        local rows = data[step.from]
        local progress = terminal.progress(step.into, rows.count)
        total = total + load_table(db, step, rows, progress)
        progress:finish()
        assert(db:exec("analyze " .. step.into))
    end
    return total
end

return M
