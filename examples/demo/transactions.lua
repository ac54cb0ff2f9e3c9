--- Transactions that commit, roll back, nest and are run again after a conflict. Each step
-- checks in the database that what should have happened has happened.
local terminal = require "demo.terminal"

local M = {}

local add_registration = [[
    insert into registrations (user_id, event_id) values ($1, $2) returning id]]
local add_payment = [[
    insert into payment_history (registration_id, payment_reference, method, amount, status)
    values ($1, $2, 'card', $3, 'completed')]]
local settle = "update registrations set payment_status = 'completed' where id = $1"

local function check(condition, message)
    if not condition then
        error(message, 2)
    end
end

-- An event of our own, with few seats.
local function add_event(db)
    return assert(db:one([[
        insert into events (title, organizer_id, venue, country, event_date, registration_deadline, price,
                            capacity, status)
        select 'The Tidepool Gala', id, 'Lisboa', 'PT', '2026-06-20 19:00 UTC', '2026-06-01 UTC', $1, $2, 'published'
          from admin_users where country = 'PT'
        returning id, capacity, price]], "25.00", 6))
end

local function registered(db, event)
    return assert(db:value("select count(*) from registrations where event_id = $1", event.id))
end

local function pay(tx, registration, event)
    assert(tx:exec(add_payment, registration, ("GALA-%d"):format(registration), event.price))
    assert(tx:exec(settle, registration))
end

local function show_commit(db, event)
    local registration = assert(db:transaction(function(tx)
        local id = assert(tx:value(add_registration, 1, event.id))
        pay(tx, id, event)
        return id
    end))
    local status = assert(db:value("select payment_status from registrations where id = $1", registration))
    check(status == "completed" and registered(db, event) == 1, "the commit left no registration")
    terminal.tick("Commit", ("Registration %s and its payment of %s are stored together."):format(
        terminal.count(registration), event.price))
end

local function show_refusal(db, event)
    local result, reason = db:transaction(function(tx)
        assert(tx:value(add_registration, 2, event.id))
        return nil, "the card was declined"
    end)
    check(result == nil and reason == "the card was declined", "the reason did not come back")
    check(registered(db, event) == 1, "the refused registration is stored")
    terminal.tick("Roll back by returning nil and a reason",
        ('The caller gets nil, "%s"; nothing is stored.'):format(reason))
end

local function show_raised(db, event)
    local ok, message = pcall(db.transaction, db, function(tx)
        assert(tx:value(add_registration, 2, event.id))
        error("the ticket printer is out of paper", 0)
    end)
    check(not ok and message == "the ticket printer is out of paper", "the error did not come through")
    check(registered(db, event) == 1, "the failed registration is stored")
    terminal.tick("Roll back by an error", ('The error "%s" goes on to the caller; nothing is stored.'):format(message))
end

local function show_nested(db, event)
    local inner_error
    local registration = assert(db:transaction(function(tx)
        local id = assert(tx:value(add_registration, 2, event.id))
        local done, err = tx:transaction(function(inner) -- a savepoint
            pay(inner, id, event)
            assert(inner:value(add_registration, 2, event.id)) -- is there already
            return true
        end)
        check(not done, "the second registration of one person was stored")
        inner_error = err
        return id
    end))
    local payments = assert(db:value("select count(*) from payment_history where registration_id = $1", registration))
    check(payments == 0 and registered(db, event) == 2, "the savepoint was not rolled back alone")
    terminal.tick("Nest", ("The inner block failed (%s) and went back to its savepoint, payment and all; "
        .. "the outer one went on and committed registration %s."):format(inner_error.name,
        terminal.count(registration)))
end

local function show_error(db, data)
    local result, err = db:exec("insert into users (email, name, country) values ($1, $2, $3)",
        data.users.email[1], "Somebody Else", "PT")
    check(not result and err.constraint == "idx_users_email", "the e-mail was stored twice")
    terminal.tick("A unique violation", "Errors are tables; what the server said is in their fields:")
    local list = {}
    for _, name in ipairs { "kind", "code", "name", "constraint", "table", "detail", "retryable" } do
        list[#list + 1] = { "err." .. name, tostring(err[name]) }
    end
    terminal.fields(list)
end

-- What two box offices do at once: look how many seats are left, and sell one.
local function sell_seat(tx, user, event)
    local sold = assert(tx:value("select count(*) from registrations where event_id = $1", event.id))
    if sold >= event.capacity then
        return nil, "sold out"
    end
    return sold, assert(tx:value(add_registration, user, event.id))
end

-- The first attempt sees its rival sell a seat between its own look and its own sale. PostgreSQL
-- lets only one of them through; the other one begins again and sees what has changed.
local function show_conflict(db, event)
    local attempts, seen, retry = 0, {}, nil
    local stop_listening = db:on("retry", function(told)
        retry = told
    end)
    local registration = assert(db:transaction(function(tx)
        attempts = attempts + 1
        seen[attempts] = assert(registered(tx, event))
        if attempts == 1 then
            assert(db:transaction(function(rival) -- on another connection
                return sell_seat(rival, 3, event)
            end, { isolation = "serializable" }))
        end
        local _, id = sell_seat(tx, 4, event)
        return id
    end, { isolation = "serializable", retries = 3 }))
    local sold = registered(db, event)
    stop_listening()
    check(attempts == 2 and seen[2] == seen[1] + 1 and sold == seen[2] + 1, "the conflict was not resolved")
    check(retry and retry.code == "40001", "no retry was told of")
    terminal.tick("Conflict and retry", ("Two box offices sell a seat at once. Attempt 1 saw %d of %d seats sold, and "
        .. "its rival sold another one before it could."):format(seen[1], event.capacity))
    terminal.warning(("retry event: attempt %d failed with %s (%s)"):format(retry.attempt, retry.code, retry.message))
    terminal.paragraph(("Attempt %d saw %d seats sold and committed registration %s."):format(attempts, seen[2],
        terminal.count(registration)), "    ")
end

--- Runs all steps.
function M.run(db, data)
    local event = add_event(db)
    show_commit(db, event)
    show_refusal(db, event)
    show_raised(db, event)
    show_nested(db, event)
    show_error(db, data)
    show_conflict(db, event)
end

return M
