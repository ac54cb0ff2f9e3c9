--- tidepool at work: an event-management database is made, filled, asked and changed.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/demo/main.lua
--
-- Everything happens in the schema tidepool_demo, which is made anew by each run and left
-- for whoever wants to look. The exit code is not zero when anything went wrong.
local here = arg[0]:match("^(.*)/") or "."
local above = here == "." and ".." or here:match("^(.*)/[^/]+$") or "."
package.path = above .. "/?.lua;" .. package.path

local tidepool = require "tidepool"
local dataset = require "demo.dataset"
local load = require "demo.load"
local pool = require "demo.pool"
local queries = require "demo.queries"
local schema = require "demo.schema"
local terminal = require "demo.terminal"
local transactions = require "demo.transactions"

-- The address of the server comes from the environment; the rest is said here.
local function open()
    return assert(tidepool.open {
        application_name = pool.application,
        options = "-c search_path=" .. schema.name,
        pool = { min = 2, max = 10 },
        log = { queries = false, slow_ms = 0 }, -- the progress bar has the screen for itself
    })
end

local function connect()
    if not tidepool.is_configured() then
        error("no database is configured: set DATABASE_URL=postgresql://user:password@host/database", 0)
    end
    local db = open()
    assert(db:wait_ready(10000))
    local server = assert(db:one("select current_setting('server_version') as version, current_database() as name"))
    terminal.title(("%s on PostgreSQL %s"):format(tidepool._VERSION, server.version:match("^%S+")))
    terminal.note(("database %s, schema %s, a pool of %d to %d connections"):format(server.name, schema.name,
        db:stats().min, db:stats().max))
    return db
end

local function create_schema(db)
    terminal.section("The schema of an event-management system")
    local began = terminal.now()
    local made = schema.create(db, tidepool.quote_identifier)
    assert(made.tables == 5 and made.enums == 2 and made.indexes == 17, "the schema is not as it should be")
    terminal.paragraph(("%d tables, %d enums, %d indexes, %d constraints in %s ms, in one transaction."):format(
        made.tables, made.enums, made.indexes, made.constraints, terminal.ms(terminal.now() - began)))
end

local function load_data(db)
    terminal.section("Loading")
    local began = terminal.now()
    local world = dataset.read()
    terminal.note(("%d countries organise, %s subdivisions are venues, %s living languages are topics"):format(
        #world.countries, terminal.count(#world.venues), terminal.count(#world.languages)))
    local data = dataset.generate(world)
    terminal.note(("read from iso-codes, and the rest generated, in %.2f s"):format((terminal.now() - began) / 1000))
    local total = load.run(db, data)
    return data, total
end

local function run()
    local began = terminal.now()
    local db <close> = connect()
    create_schema(db)
    local data, total = load_data(db)
    queries.run(db, data)
    terminal.section("Transactions")
    transactions.run(db, data)
    terminal.section("Trouble")
    pool.show_faults(db)
    terminal.section("What the pool has counted")
    local stats = pool.show_stats(db)
    assert(db:drain(5000))
    assert(db:close())
    print()
    terminal.tick(("Done: %s rows, %s queries, %d connections, all as expected, in %.1f s"):format(
        terminal.count(total), terminal.count(stats.queries), stats.created, (terminal.now() - began) / 1000))
end

-- Errors of tidepool are tables and stay as they are, and so do messages for the user; others get their traceback.
local function explain(err)
    local unexpected = type(err) == "string" and err:find("^[^\n]*%.lua:%d+:") and not err:find("interrupted!$")
    return unexpected and debug.traceback(err, 2) or err
end

local ok, err = xpcall(run, explain)
if not ok then
    local interrupted = tostring(err):find("interrupted!$") ~= nil -- what lua says on Ctrl-C
    io.stdout:flush()
    io.stderr:write("\n", interrupted and "Interrupted." or "The demo failed: " .. tostring(err), "\n")
    os.exit(interrupted and 130 or 1, true)
end
