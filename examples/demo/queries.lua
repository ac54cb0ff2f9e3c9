--- Reports on the loaded data: queries with parameters, printed as tables with the time they took.
local terminal = require "demo.terminal"

local M = {}

local lookups = 5000

local count = terminal.count

local function money(value)
    return count(value // 1)
end

-- Each report: what it tells, its SQL and parameters, and the columns of its table; `text` makes the
-- text of a cell where tostring does not do.
local reports = {
    {
        title = "The months of a year",
        note = "$1 = 2025",
        sql = [[
            select to_char(month, 'Mon') as month, events, registrations, coalesce(revenue, 0)::float8 as revenue,
                   coalesce(revenue / max(revenue) over (), 0)::float8 as share
              from (select date_trunc('month', e.event_date) as month, count(distinct e.id) as events,
                           count(r.id) as registrations,
                           sum(e.price) filter (where r.payment_status = 'completed') as revenue
                      from events e left join registrations r on r.event_id = e.id
                     where e.event_date >= make_date($1, 1, 1) and e.event_date < make_date($1 + 1, 1, 1)
                     group by 1) as months
             order by months.month]],
        parameters = { 2025 },
        columns = {
            { title = "month", key = "month" },
            { title = "events", key = "events", right = true, text = count },
            { title = "registrations", key = "registrations", right = true, text = count },
            { title = "revenue", key = "revenue", right = true, text = money },
            { title = "", key = "share", text = function(share) return terminal.share(share, 32) end },
        },
    },
    {
        title = "The best-sold events of some countries",
        note = [[$1 = {"IT", "PT", "ES"}, $2 = "completed", $3 = 6]],
        sql = [[
            select e.title, e.venue, e.country, e.event_date::date as date,
                   count(*) as sold, e.capacity
              from events e join registrations r on r.event_id = e.id
             where e.country = any($1::text[]) and e.status = $2
             group by e.id order by count(*) desc, e.id limit $3]],
        parameters = { { "IT", "PT", "ES" }, "completed", 6 },
        columns = {
            { title = "event", key = "title", most = 32 },
            { title = "venue", key = "venue", most = 16 },
            { title = "date", key = "date" },
            { title = "sold", key = "sold", right = true },
            { title = "of", key = "capacity", right = true },
        },
    },
    {
        title = "The organisers that earned most",
        note = [[$1 = "2025-07-01", $2 = "2025-10-01", $3 = 6]],
        sql = [[
            select rank() over (order by sum(p.amount) desc) as rank, a.name, count(distinct e.id) as events,
                   count(*) as payments, sum(p.amount)::float8 as earned
              from payment_history p
              join registrations r on r.id = p.registration_id
              join events e on e.id = r.event_id
              join admin_users a on a.id = e.organizer_id
             where p.status = 'completed' and p.transaction_date >= $1 and p.transaction_date < $2
             group by a.id order by rank, a.id limit $3]],
        parameters = { "2025-07-01", "2025-10-01", 6 },
        columns = {
            { title = "rank", key = "rank", right = true },
            { title = "organiser", key = "name", most = 40 },
            { title = "events", key = "events", right = true, text = count },
            { title = "payments", key = "payments", right = true, text = count },
            { title = "earned", key = "earned", right = true, text = money },
        },
    },
    {
        title = "How well people pay",
        note = [[$1 = {"card", "transfer", "wallet", "cash"}]],
        sql = [[
            select method, count(*) as payments, count(*) filter (where status = 'completed') as completed,
                   count(*) filter (where status = 'failed') as failed,
                   count(*) filter (where status = 'refunded') as refunded,
                   100.0 * count(*) filter (where status = 'failed') / count(*) as percent
              from payment_history where method = any($1) group by method order by payments desc]],
        parameters = { { "card", "transfer", "wallet", "cash" } },
        columns = {
            { title = "method", key = "method" },
            { title = "payments", key = "payments", right = true, text = count },
            { title = "completed", key = "completed", right = true, text = count },
            { title = "failed", key = "failed", right = true, text = count },
            { title = "refunded", key = "refunded", right = true, text = count },
            { title = "failed %", key = "percent", right = true,
                text = function(numeric) return ("%.1f"):format(numeric) end },
        },
    },
    {
        title = "The most faithful visitors",
        note = "$1 = 9 registrations, $2 = 5",
        sql = [[
            select u.name, u.email, count(*) as registrations, count(distinct e.country) as countries,
                   array_agg(distinct e.country::text) as visited
              from users u join registrations r on r.user_id = u.id join events e on e.id = r.event_id
             group by u.id having count(*) >= $1 order by 3 desc, 4 desc, u.id limit $2]],
        parameters = { 9, 5 },
        columns = {
            { title = "visitor", key = "name", most = 20 },
            { title = "registrations", key = "registrations", right = true },
            { title = "countries", key = "visited", most = 40,
                text = function(list) return table.concat(list, " ") end },
        },
    },
}

local function cells_of(columns, row)
    local cells = {}
    for i, column in ipairs(columns) do
        cells[i] = (column.text or tostring)(row[column.key])
    end
    return cells
end

local function run_report(db, report)
    local began = terminal.now()
    local rows = assert(db:query(report.sql, table.unpack(report.parameters)))
    local took = terminal.now() - began
    assert(#rows > 0, "the report has no rows: " .. report.title)
    local cells = {}
    for i, row in ipairs(rows) do
        cells[i] = cells_of(report.columns, row)
    end
    terminal.section(report.title)
    terminal.note(("%d rows in %s ms with %s"):format(#rows, terminal.ms(took), report.note))
    terminal.table(report.columns, cells)
end

-- The same statement over and over: prepared once on a connection, then only its parameters travel.
local function run_lookups(db, users)
    terminal.section("Small queries, one after the other")
    local began = terminal.now()
    for i = 1, lookups do
        local at = i * 7919 % users.count + 1
        local row = assert(db:one("select id, name from users where email = $1", users.email[at]))
        assert(row.id == users.id[at] and row.name == users.name[at], "a look-up found someone else")
    end
    local took = terminal.now() - began
    terminal.paragraph(("%s look-ups of a user by e-mail in %.2f s: %s a second, %.3f ms each."):format(
        terminal.count(lookups), took / 1000, terminal.count(lookups * 1000 // took), took / lookups))
end

--- Runs all reports.
function M.run(db, data)
    for _, report in ipairs(reports) do
        run_report(db, report)
    end
    run_lookups(db, data.users)
end

return M
