--- The ledger of a soak: operations with unique numbers that move amounts between accounts, what the workers were told
--- of each, and the comparison of both at the end.
--
-- A worker keeps a book: before it begins the next operation it writes down what it was told of the last one:
--   done      it was acknowledged: it has to be there, once
--   undone    it was said to have no effect: it must not be there
--   unknown   nobody can tell (a link lost in the middle of a statement, commit_unknown): either will do
-- Nothing in the tables forbids an operation to be there twice: that is what is looked for.
local server = require "spec.support.server"

local M = { ACCOUNTS = 64, POINTS = 1000 }

-- More operations than that no worker has.
local PER_WORKER = 1000000000

--- Makes the tables.
function M.create()
    server.psql(([[
        create table account (id int primary key, balance bigint not null) with (fillfactor = 50);
        create table operation (id bigint not null, source int not null, target int not null, amount int not null);
        create index on operation (id);
        create table point (id int primary key, note text not null);
        insert into account select g, 0 from generate_series(1, %d) g;
        insert into point select g, 'note ' || g from generate_series(1, %d) g;]]):format(M.ACCOUNTS, M.POINTS))
end

--- One operation as one statement: $1 its number, $2 and $3 the accounts, $4 the amount, $5 for how long it takes.
M.MOVE = [[
    with noted as (insert into operation values ($1, $2, $3, $4) returning id, source, target, amount),
    moved as (update account a set balance = balance + case when a.id = source then - amount else amount end
        from noted where a.id in (source, target) returning 1)
    select id from noted, (select count(*) from moved) m, pg_sleep($5::float8)]]

-- -------------------------------------------------------------------- books

local Book = {}
Book.__index = Book

--- The book of a worker, which is a file.
function M.open_book(path, worker)
    local file = assert(io.open(path, "w"))
    file:setvbuf "line"
    return setmetatable({ file = file, first = worker * PER_WORKER, count = 0 }, Book)
end

--- A new operation: its number, two accounts, an amount.
function Book:operation()
    self.count = self.count + 1
    local source = math.random(M.ACCOUNTS)
    local target = (source + math.random(M.ACCOUNTS - 1) - 1) % M.ACCOUNTS + 1
    return self.first + self.count, source, target, math.random(1000)
end

--- Writes down what was told of an operation; `kind` is the load's, `why` what an error said.
function Book:write(id, told, kind, why)
    self.file:write(("%.0f\t%s\t%s\t%s\n"):format(id, told, kind, why or ""))
end

function Book:close()
    self.file:close()
end

-- ----------------------------------------------------------- reconciliation

-- What must not be: its name, and a query for the numbers of such operations.
local promises = {
    { "acknowledged operations lost",
        "select id from told left join operation using (id) where told = 'done' and operation.id is null" },
    { "operations there twice", "select id from operation group by id having count(*) > 1" },
    { "operations there that were said to be undone",
        "select id from told join operation using (id) where told = 'undone'" },
    { "operations there that nobody was told of",
        "select id from operation left join told using (id) where told.id is null" },
    { "operations told of twice", "select id from told group by id having count(*) > 1" },
    { "accounts whose balance is not the sum of the operations", [[
        select a.id from account a left join (
            select id, sum(amount) as sum from (
                select target as id, amount from operation union all select source, - amount from operation) moves
            group by id) sums using (id)
        where a.balance <> coalesce(sum, 0)]] },
}

local function read_books(paths)
    server.psql "create table told (id bigint not null, told text not null, kind text not null, why text not null)"
    for _, path in ipairs(paths) do
        server.psql(("\\copy told from '%s'"):format(path))
    end
    server.psql "create index on told (id); analyze told; analyze operation"
end

-- Some of the operations in question, with all that is known of them.
local function examples(query)
    return server.psql(([[
        select string_agg(bad.id || ' ' || coalesce(told.told || ' ' || kind || ' ' || why, ''), ', ')
        from (select id from (%s) all_of_them limit 5) bad left join told using (id)]]):format(query))
end

--- Compares the books with the tables. The workers have ended and the server is up.
-- @return a list of promises, each with name, count and, when it is broken, examples
-- @return a list of lines of figures
function M.reconcile(paths)
    read_books(paths)
    local results = {}
    for _, promise in ipairs(promises) do
        local name, query = promise[1], promise[2]
        local count = tonumber(server.psql(("select count(*) from (%s) bad"):format(query)))
        results[#results + 1] = { name = name, count = count, examples = count > 0 and examples(query) or nil }
    end
    local figures = server.psql [[
        select format('%s %s %s', rpad(kind, 24), lpad(count(*) filter (where told = 'done')::text, 8),
            lpad(count(*) filter (where told = 'undone')::text, 8)
            || lpad(count(*) filter (where told = 'unknown')::text, 8)
            || lpad(count(*) filter (where told = 'unknown' and exists (
                select from operation where operation.id = told.id))::text, 8))
        from told group by kind order by kind]]
    local lines = { ("%-24s %8s %8s%8s%8s"):format("operations by", "done", "undone", "unknown", "of them there") }
    for line in figures:gmatch "[^\n]+" do
        lines[#lines + 1] = line
    end
    return results, lines
end

return M
