--- What a worker of a soak does: calls of every kind. Each either proves that its answer is its own, or is an operation
--- of the ledger whose outcome is written down.
--
-- A kind is called with the worker (see worker.lua) and returns something true when all went well, else nil and the
-- error.
local failure = require "tidepool.failure"
local ledger = require "spec.soak.ledger"
local loops = require "spec.support.loops"
local tidepool = require "tidepool"

local M = {}

local READ_MS, CANCEL_MS, BLOCK_MS = 1000, 40, 2500

-- ------------------------------------------------------------------ outcomes

-- What errors say in statements of their own: surely undone; all others: unknown. In a transaction all but
-- commit_unknown say that it was undone.
local undone = { database = true, validation = true, busy = true, pool_timeout = true, not_configured = true }

local function told_of(err, in_block)
    if in_block then
        return err.kind == "commit_unknown" and "unknown" or "undone"
    end
    return undone[err.kind] and "undone" or "unknown"
end

local function why(err)
    return failure.is(err) and err.kind .. " " .. (err.code or "-") or "raised"
end

-- Writes down what became of operations, and returns result and err.
local function settle(worker, kind, ids, in_block, result, err)
    for _, id in ipairs(ids) do
        if result then
            worker.book:write(id, "done", kind)
        else
            worker.book:write(id, told_of(err, in_block), kind, why(err))
        end
    end
    return result, err
end

-- ----------------------------------------------------------------- operations

local function insert(tx, id, source, target, amount)
    local assert = tidepool.assert
    assert(tx:exec("insert into operation values ($1, $2, $3, $4)", id, source, target, amount))
    assert(tx:exec("update account set balance = balance - $2 where id = $1", source, amount))
    assert(tx:exec("update account set balance = balance + $2 where id = $1", target, amount))
end

local function transfer(worker)
    local id, source, target, amount = worker.book:operation()
    return settle(worker, "transaction", { id }, true, worker.db:transaction(function(tx)
        insert(tx, id, source, target, amount)
        return id
    end, { retries = 3, deadline_ms = BLOCK_MS }))
end

-- Ends by an error of the program's own, behind a savepoint that was released.
local function refuse(worker)
    local id, source, target, amount = worker.book:operation()
    local _, err = worker.db:transaction(function(tx)
        tidepool.assert(tx:transaction(function(inner)
            insert(inner, id, source, target, amount)
            return true
        end))
        return nil, "refused"
    end, { retries = 1, deadline_ms = BLOCK_MS })
    worker.book:write(id, "undone", "refused transaction", err ~= "refused" and why(err) or "refused")
    return err == "refused", err
end

local function statement(worker)
    local id, source, target, amount = worker.book:operation()
    local got, err = worker.db:value({ ledger.MOVE, timeout_ms = READ_MS }, id, source, target, amount, 0)
    if got then worker:proves(got == id, "statement") end
    return settle(worker, "statement", { id }, false, got, err)
end

-- Its deadline ends it, which is what is wanted.
local function cancelled(worker)
    local id, source, target, amount = worker.book:operation()
    local got, err = worker.db:value({ ledger.MOVE, timeout_ms = CANCEL_MS }, id, source, target, amount, 0.5)
    settle(worker, "cancelled statement", { id }, false, got, err)
    return got or err.kind == "timeout", err
end

local function batch(worker)
    local ids, lists = {}, {}
    for i = 1, 4 do
        lists[i] = { worker.book:operation() }
        lists[i][5] = 0
        ids[i] = lists[i][1]
    end
    local got, err = worker.db:query_many({ ledger.MOVE, timeout_ms = READ_MS }, lists)
    for i = 1, got and #ids or 0 do
        worker:proves(got[i] and got[i][1] and got[i][1].id == ids[i], "query_many")
    end
    return settle(worker, "query_many", ids, false, got, err)
end

local function pipeline(worker)
    local id, source, target, amount = worker.book:operation()
    local unique = worker:unique()
    local got, err = worker.db:pipeline(function(p)
        p:value("select $1::bigint", unique)
        p:value(ledger.MOVE, id, source, target, amount, 0)
        p:value("select $1::bigint + 1", unique)
    end, { timeout_ms = READ_MS })
    if got then
        worker:proves(got[1] == unique and got[2] == id and got[3] == unique + 1, "pipeline")
    end
    return settle(worker, "pipeline", { id }, false, got, err)
end

-- Amounts of nothing, as COPY writes into one table.
local function copy_in(worker)
    local ids, rows = {}, {}
    for i = 1, 5 do
        local id, source, target = worker.book:operation()
        ids[i], rows[i] = id, { id, source, target, 0 }
    end
    local got, err = worker.db:copy_in("operation", rows, { timeout_ms = READ_MS })
    if got then worker:proves(got.count == #ids, "copy_in") end
    return settle(worker, "copy_in", ids, false, got, err)
end

-- ---------------------------------------------------------------------- reads

local function point(worker)
    local unique, id = worker:unique(), math.random(ledger.POINTS)
    local row, err = worker.db:one({ "select $1::bigint as echo, note from point where id = $2", timeout_ms = READ_MS },
        unique, id)
    if row then worker:proves(row.echo == unique and row.note == "note " .. id, "point read") end
    return row, err
end

local function idempotent(worker)
    local unique = worker:unique()
    local got, err = worker.db:value({ "select $1::bigint", timeout_ms = READ_MS, idempotent = true }, unique)
    if got then worker:proves(got == unique, "idempotent read") end
    return got, err
end

-- A connection that is held for a while.
local function held(worker)
    return worker.db:with(function(conn)
        for _ = 1, 3 do
            local unique = worker:unique()
            local got, err = conn:value("select $1::bigint", unique)
            if not got then
                return nil, err
            end
            worker:proves(got == unique, "held connection")
        end
        return true
    end, { deadline_ms = READ_MS })
end

local SERIES = "(select g, %.0f + g from generate_series(1, 300) g)"

local function copy_out(worker)
    local unique, rows, right = worker:unique(), 0, true
    local got, err = worker.db:copy_out(SERIES:format(unique), function(row)
        rows = rows + 1
        right = right and row[1] == rows and row[2] == unique + rows
    end, { timeout_ms = READ_MS })
    if got then worker:proves(right and rows == 300, "copy_out") end
    return got, err
end

-- A stream that is left in the middle, or read to its end.
local function stream(worker)
    local unique, enough = worker:unique(), math.random(600)
    local ok, result = loops.pcall(function()
        local next_row, _, _, rows = worker.db:each({ "select g, $1::bigint + g as n from generate_series(1, 300) g",
            timeout_ms = READ_MS }, unique)
        local count, row = 0, next_row()
        while row and count < enough do
            count = count + 1
            worker:proves(row.g == count and row.n == unique + count, "each")
            row = next_row()
        end
        rows:close()
        return count
    end)
    if not ok and not failure.is(result) then
        error(result, 0)
    end
    return ok, result
end

-- ----------------------------------------------------------------- abandoned

-- A coroutine that is dropped in the middle of a transaction.
local function abandon(worker)
    local id, source, target, amount = worker.book:operation()
    local inside, ended, err = false, false, nil
    worker:abandon(function()
        local _
        _, err = worker.db:transaction(function(tx)
            insert(tx, id, source, target, amount)
            inside = true
            coroutine.yield()
        end, { timeout_ms = READ_MS, deadline_ms = BLOCK_MS })
        ended = true
    end, function() return inside or ended end)
    worker.book:write(id, inside and "undone" or told_of(err, true), "abandoned transaction", err and why(err))
    return inside, err
end

-- ---------------------------------------------------------------------- kinds

-- Weight, kind, and within how many milliseconds it has to end: what it says itself, and the search for a verdict. A
-- stream has its deadline for each wait.
local VERDICT_MS = 3000
M.VERDICT_MS = VERDICT_MS
M.kinds = {
    { 30, "point read", point, READ_MS },
    { 6, "idempotent read", idempotent, READ_MS },
    { 4, "held connection", held, READ_MS },
    { 16, "transaction", transfer, BLOCK_MS + VERDICT_MS },
    { 4, "refused transaction", refuse, BLOCK_MS },
    { 10, "statement", statement, READ_MS },
    { 3, "cancelled statement", cancelled, CANCEL_MS },
    { 5, "query_many", batch, READ_MS },
    { 6, "pipeline", pipeline, READ_MS },
    { 4, "copy_in", copy_in, READ_MS },
    { 4, "copy_out", copy_out, READ_MS },
    { 4, "each", stream, READ_MS },
    { 1, "abandoned transaction", abandon, BLOCK_MS },
}

local total = 0
for _, kind in ipairs(M.kinds) do
    total = total + kind[1]
end

--- A random kind: its name, its function, its deadline in milliseconds.
function M.random()
    local at = math.random(total)
    for _, kind in ipairs(M.kinds) do
        at = at - kind[1]
        if at <= 0 then
            return kind[2], kind[3], kind[4]
        end
    end
end

return M
