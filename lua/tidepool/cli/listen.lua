--- tidepool listen: prints notifications as they come.
-- @module tidepool.cli.listen
local core = require "tidepool.core"
local database = require "tidepool.cli.database"
local json = require "tidepool.cli.json"
local terminal = require "tidepool.cli.terminal"
local text = require "tidepool.cli.text"

local M = {
    name = "listen",
    summary = "Print notifications as they come.",
    description = "Listens on channels and prints each notification: channel, backend and payload. After a lost "
        .. "connection it listens again, and says on standard error that something may be missing.",
    timeout = "End with code 4 after that time, unless --count have come (default: no limit; 10 to connect).",
    examples = [[
  tidepool listen orders
  tidepool listen orders invoices --json | while read -r line; do echo "$line" | jq .payload; done
  tidepool listen ready --count 1 --timeout 30 && echo "it is ready"]],
}

function M.configure(command, convert)
    command:argument "channel":args "+":description "The channels, spelled exactly as in NOTIFY (no folding of case)."
    command:option "-c --count":argname "<n>":convert(convert.natural):description "End after that many."
    command:flag "--json":description "An object on each line: time, channel, payload, backend_pid."
end

local function print_note(args, note)
    if args.json then
        terminal.write(json.encode {
            time = os.date "!%Y-%m-%dT%H:%M:%SZ", channel = note.channel, payload = note.payload,
            backend_pid = note.backend_pid,
        }, "\n")
    else
        terminal.write(("%s %s %d %s\n"):format(os.date "%H:%M:%S", text.plain(note.channel), note.backend_pid,
            terminal.is_terminal() and text.plain(note.payload) or (note.payload:gsub("\n", "\\n"))))
    end
    terminal.flush()
end

local function print_gap(gap)
    local dropped = gap.dropped and (" (%d dropped)"):format(gap.dropped) or ""
    terminal.complain(("notifications may be missing here: %s%s"):format(tostring(gap.reason), dropped))
end

function M.run(args)
    local db = database.open(args)
    local deadline = args.timeout and core.now() + args.timeout * 1000
    local listener = database.must(nil, true, db:listen(args.channel))
    local count = 0
    while count < (args.count or math.huge) do
        local note, err = listener:next(deadline and math.max(0, deadline - core.now()))
        if not note then
            database.fail(err)
        elseif note.gap then
            print_gap(note)
        else
            count = count + 1
            print_note(args, note)
        end
    end
    listener:close()
end

return M
