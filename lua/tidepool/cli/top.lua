--- tidepool top: what the server's backends are doing, again and again.
-- @module tidepool.cli.top
local core = require "tidepool.core"
local database = require "tidepool.cli.database"
local json = require "tidepool.cli.json"
local server = require "tidepool.cli.server"
local terminal = require "tidepool.cli.terminal"
local text = require "tidepool.cli.text"

local M = {
    name = "top",
    summary = "Watch what the server's backends are doing.",
    description = "Shows the connections of clients that do something: what, for how long, what they wait for and who "
        .. "blocks them. q ends it, a shows idle ones too, any other key looks again at once.",
    examples = [[
  tidepool top
  tidepool top --interval 0.5 --all
  tidepool top --once | grep 'idle in transaction'
  tidepool top --json | jq '.backends[] | select(.blocked_by != [])']],
}

function M.configure(command, convert)
    command:option "-i --interval":argname "<seconds>":convert(convert.duration):default "2"
        :description "The time between two looks."
    command:flag "-a --all":description "Also connections that are idle."
    command:flag "--once":description "One look, which stays on the screen (so it is where there is no terminal)."
    command:flag "--json":description "One look, as an object."
end

-- ---------------------------------------------------------------------- columns

local function age(seconds)
    return seconds and text.duration(seconds) or ""
end

local function waits_for(backend)
    return backend.wait_event and ("%s:%s"):format(backend.wait_event_type, backend.wait_event) or ""
end

local columns = {
    { "PID", 7, function(b) return ("%d"):format(b.pid) end, right = true },
    { "USER", 10, function(b) return b.user or "" end },
    { "DATABASE", 10, function(b) return b.database or "" end },
    { "APPLICATION", 14, function(b) return b.application or "" end },
    { "STATE", 11, function(b) return (b.state or ""):gsub("in transaction", "in tx") end },
    { "FOR", 8, function(b) return age(b.state_age_s) end, right = true },
    { "IN TX", 8, function(b) return age(b.transaction_age_s) end, right = true },
    { "WAITS FOR", 19, waits_for },
    { "BLOCKED BY", 10, function(b) return table.concat(b.blocked_by, " ") end },
    { "QUERY", 60, function(b) return text.one_line(b.query) end },
}

-- What is left out first where the terminal is narrow, so that something of the query is seen.
local dispensable, QUERY_AT_LEAST = { "DATABASE", "APPLICATION", "IN TX", "USER", "WAITS FOR" }, 24

local function columns_for(width)
    local left_out, sum = {}, QUERY_AT_LEAST
    for i = 1, #columns - 1 do
        sum = sum + columns[i][2] + 1
    end
    for _, name in ipairs(dispensable) do
        for _, column in ipairs(columns) do
            if width and sum > width and column[1] == name then
                left_out[name], sum = true, sum - column[2] - 1
            end
        end
    end
    return left_out
end

-- A row of the screen; the last column has what is left of the width.
local function row(width, cell_of)
    local parts, used, left_out = {}, 0, columns_for(width)
    for i, column in ipairs(columns) do
        local room = i < #columns and column[2] or width and math.max(10, width - used) or nil
        if not left_out[column[1]] then
            local cell = text.plain(cell_of(column))
            cell = room and text.cut(cell, room) or cell
            parts[#parts + 1] = i < #columns and text.pad(cell, room, column.right) or cell
            used = used + (room or 0) + 1
        end
    end
    local line = table.concat(parts, " ")
    return width and text.cut(line, width) or line
end

local function colour_of(backend)
    if #backend.blocked_by > 0 then
        return "red"
    elseif (backend.state or ""):find "^idle in transaction" then
        return "yellow"
    end
    return backend.state == "active" and "green" or nil
end

-- ----------------------------------------------------------------------- a look

local function rates(now, before)
    if not before then
        return ""
    end
    local seconds = math.max(0.001, (now.at - before.at) / 1000)
    local function rate(name)
        return math.max(0, now.database[name] - before.database[name]) / seconds
    end
    return ("%.0f commits/s, %.0f rollbacks/s, %.0f rows fetched/s, %.0f written/s"):format(rate "commits",
        rate "rollbacks", rate "rows_fetched", rate "rows_inserted" + rate "rows_updated" + rate "rows_deleted")
end

local function look(db, args)
    local figures = database.must(nil, true, server.figures(db))
    figures.backends = database.must(nil, true, server.backends(db, args.all))
    figures.at = core.now()
    return figures
end

local function head(now, before, width)
    local s, c = now.server, now.connections
    local lines = {
        ("PostgreSQL %s, %s, up %s, %s"):format(s.version, text.plain(s.database), text.duration(s.uptime_s),
            os.date "%H:%M:%S"),
        ("connections %d of %d: %d active, %d idle, %d idle in transaction; %d wait for locks"):format(c.total,
            s.max_connections, c.active, c.idle, c.idle_in_transaction, c.waiting_for_locks),
        rates(now, before),
    }
    for i, line in ipairs(lines) do
        lines[i] = width and text.cut(line, width) or line
    end
    return lines
end

-- The lines of a look; as many as there is room for.
local function screen(now, before, width, height)
    local lines = head(now, before, width)
    lines[#lines + 1] = terminal.colour("bold", row(width, function(column) return column[1] end))
    for i, backend in ipairs(now.backends) do
        if height and #lines >= height - 1 and i < #now.backends then
            lines[#lines + 1] = ("... and %d more"):format(#now.backends - i + 1)
            break
        end
        local line = row(width, function(column) return column[3](backend) end)
        lines[#lines + 1] = terminal.colour(colour_of(backend), line)
    end
    return lines
end

local function once(db, args)
    local now = look(db, args)
    if args.json then
        local backends = json.list {}
        for i, backend in ipairs(now.backends) do
            backend.blocked_by = json.list(backend.blocked_by)
            backends[i] = backend
        end
        now.backends, now.at = backends, nil
        terminal.write(json.encode(now), "\n")
        return
    end
    for i, line in ipairs(screen(now, nil, terminal.size())) do
        if i ~= 3 then -- there are no rates yet
            terminal.write(line, "\n")
        end
    end
end

-- ------------------------------------------------------------------- the screen

local ENTER, LEAVE = "\27[?1049h\27[?25l", "\27[?25h\27[?1049l"
local HOME, CLEAR_LINE, CLEAR_BELOW = "\27[H", "\27[K", "\27[J"

local function draw(lines)
    terminal.write(HOME, table.concat(lines, CLEAR_LINE .. "\r\n"), CLEAR_LINE, CLEAR_BELOW)
    terminal.flush()
end

local function watch(db, args)
    local has_keyboard = terminal.has_keyboard() and terminal.keys(true)
    local before
    while true do
        local now = look(db, args)
        local width, height = terminal.size(80, 24)
        draw(screen(now, before, width, height))
        before = now
        local key = terminal.sleep(args.interval, has_keyboard)
        if key == "q" or key == false then
            return
        elseif key == "a" then
            args.all = not args.all
        end
    end
end

function M.run(args)
    local db = database.open(args)
    if args.once or args.json or not terminal.is_terminal() then
        return once(db, args)
    end
    terminal.write(ENTER)
    local ok, raised = pcall(watch, db, args)
    terminal.keys(false)
    terminal.write(LEAVE)
    terminal.flush()
    if not ok then
        error(raised, 0)
    end
end

return M
