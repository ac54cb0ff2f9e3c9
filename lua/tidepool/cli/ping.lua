--- tidepool ping: how long the way to the server and back takes.
-- @module tidepool.cli.ping
local core = require "tidepool.core"
local database = require "tidepool.cli.database"
local json = require "tidepool.cli.json"
local terminal = require "tidepool.cli.terminal"

local M = {
    name = "ping",
    summary = "Measure round trips to the server.",
    description = "Measures round trips to the server, after connecting; Ctrl-C ends it with a summary.",
    timeout = "How long connecting, and each answer, may take (default: 10 to connect, 1 for an answer).",
    examples = [[
  tidepool ping
  tidepool ping -c 5 --interval 0.2
  tidepool ping -c 1 --timeout 2 --json && start-the-service]],
}

local ANSWER_S = 1

function M.configure(command, convert)
    command:option "-c --count":argname "<n>":convert(convert.natural)
        :description "How many; by default until it is stopped."
    command:option "-i --interval":argname "<seconds>":convert(convert.duration):default "1"
        :description "The time between them."
    command:flag "--json":description "One object for each, and a last one with the summary."
end

local function print_answer(args, n, ms, err)
    if args.json then
        terminal.write(json.encode { sequence = n, ms = ms, error = err and tostring(err) }, "\n")
    elseif ms then
        terminal.write(("answer %d: %.3f ms\n"):format(n, ms))
    else
        terminal.write(("no answer %d: %s\n"):format(n, tostring(err)))
    end
    terminal.flush()
end

local function summary(times, sent)
    local sum, squares, least, most = 0, 0, math.huge, 0
    for _, ms in ipairs(times) do
        sum, squares = sum + ms, squares + ms * ms
        least, most = math.min(least, ms), math.max(most, ms)
    end
    local n = #times
    local mean = n > 0 and sum / n or 0
    return {
        sent = sent, answered = n, lost_percent = sent > 0 and (sent - n) * 100 / sent or 0,
        min_ms = n > 0 and least or nil, mean_ms = n > 0 and mean or nil, max_ms = n > 0 and most or nil,
        deviation_ms = n > 0 and math.sqrt(math.max(0, squares / n - mean * mean)) or nil,
    }
end

local function print_summary(args, result)
    if args.json then
        terminal.write(json.encode(result), "\n")
        return
    end
    terminal.write(("%d sent, %d answered, %.0f %% lost\n"):format(result.sent, result.answered, result.lost_percent))
    if result.answered > 0 then
        terminal.write(("min/mean/max/deviation = %.3f/%.3f/%.3f/%.3f ms\n"):format(
            result.min_ms, result.mean_ms, result.max_ms, result.deviation_ms))
    end
end

-- Until it is enough, or a signal comes: then what was raised.
local function ping(args, db, times, state)
    return pcall(function()
        while state.sent < (args.count or math.huge) do
            local began = core.now()
            local ok, err = db:ping((args.timeout or ANSWER_S) * 1000)
            local ms = math.floor((core.now() - began) * 1000 + 0.5) / 1000
            state.sent = state.sent + 1
            times[#times + 1] = ok and ms or nil
            print_answer(args, state.sent, ok and ms, err)
            if state.sent < (args.count or math.huge) then
                terminal.sleep(args.interval - (core.now() - began) / 1000)
            end
        end
    end)
end

function M.run(args)
    local db = database.open(args)
    database.must(nil, true, db:with(function() return true end)) -- connecting is not measured
    local times, state = {}, { sent = 0 }
    local ok, raised = ping(args, db, times, state)
    if not ok and not (terminal.is_exit(raised) and raised.code == 130) then
        error(raised, 0)
    end
    print_summary(args, summary(times, state.sent))
    terminal.flush()
    terminal.exit(#times > 0 and 0 or 1)
end

return M
