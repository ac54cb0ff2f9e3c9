-- Transactions: commit, roll back, savepoints, isolation, retries.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/transactions.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { log = { queries = false } })
assert(db:script [[
    drop table if exists tidepool_accounts;
    create table tidepool_accounts (name text primary key, balance int not null check (balance >= 0));
    insert into tidepool_accounts values ('Ada', 100), ('Ben', 20)]])

local function balances()
    return assert(db:value("select string_agg(name || ' ' || balance, ', ' order by name) from tidepool_accounts"))
end

local function move(tx, from, to, amount)
    local change = "update tidepool_accounts set balance = balance + $2 where name = $1"
    assert(tx:exec(change, to, amount))
    assert(tx:exec(change, from, -amount)) -- may violate the check
    return amount
end

-- What the function returns comes back after COMMIT.
local moved = assert(db:transaction(function(tx)
    return move(tx, "Ada", "Ben", 30)
end))
print(("moved %d: %s"):format(moved, balances()))

-- assert raises tidepool's error; the transaction is rolled back and the error comes back as nil, err.
local result, err = db:transaction(function(tx)
    return move(tx, "Ben", "Ada", 500)
end)
print(("%s, %s violated: %s"):format(result, err.constraint, balances()))

-- So does a reason of your own.
local _, reason = db:transaction(function(tx)
    move(tx, "Ada", "Ben", 1)
    return nil, "changed my mind"
end)
print(("%s: %s"):format(reason, balances()))

-- A transaction within is a savepoint: when it fails, the outer one goes on.
assert(db:transaction(function(tx)
    move(tx, "Ada", "Ben", 10)
    local inner, why = tx:transaction(function(inner)
        return move(inner, "Ada", "Ben", 1000)
    end)
    print(("the inner one: %s, %s"):format(inner, why.name))
    return true
end))
print("the outer one was committed: " .. balances())

-- Serializable, and run again up to three times when another transaction was in the way.
local total = assert(db:transaction(function(tx)
    return tx:value("select sum(balance) from tidepool_accounts")
end, { isolation = "serializable", read_only = true, retries = 3 }))
print("together they have " .. total)

assert(db:exec("drop table tidepool_accounts"))
