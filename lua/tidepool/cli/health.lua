--- tidepool health: whether the database can be worked with.
-- @module tidepool.cli.health
local database = require "tidepool.cli.database"
local json = require "tidepool.cli.json"
local terminal = require "tidepool.cli.terminal"

local M = {
    name = "health",
    summary = "Say whether the database can be worked with.",
    description = "Connects, asks, and says whether the database is healthy, degraded (both end with 0) or unhealthy.",
    timeout = "How long it may take in all (default: 5).",
    examples = [[
  tidepool health && start-the-service
  tidepool health --json | jq -r .status
  tidepool health --timeout 1                      (HEALTHCHECK of a container)]],
}

local DEFAULT_S = 5

function M.configure(command)
    command:flag "--json":description "One object."
end

local colours = { healthy = "green", degraded = "yellow", unhealthy = "red" }

local function print_text(health)
    terminal.write(terminal.colour(colours[health.status], health.status))
    if health.latency_ms then
        terminal.write((", %.1f ms with connecting"):format(health.latency_ms))
    end
    terminal.write "\n"
    for _, reason in ipairs(health.reasons) do
        terminal.write("  ", reason, "\n")
    end
end

function M.run(args)
    args.timeout = args.timeout or DEFAULT_S
    local db = database.open(args)
    local health = db:health(args.timeout * 1000)
    if args.json then
        terminal.write(json.encode {
            status = health.status, reasons = json.list(health.reasons), latency_ms = health.latency_ms,
            state = health.state, error = health.error and tostring(health.error),
        }, "\n")
    else
        print_text(health)
    end
    terminal.flush()
    if health.status == "unhealthy" then
        local code = health.error and database.code_of(health.error) or db:is_configured() and 1 or 3
        terminal.exit(code, health.error and not args.json and tostring(health.error) or nil)
    end
end

return M
