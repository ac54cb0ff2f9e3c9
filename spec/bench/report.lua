--- What `make bench` prints and writes: one table (Markdown, so that it can be pasted), and the same as JSON.
local M = {}

local MEMORY = "awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"
local PROCESSOR = "sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1"

local function first_line(command, default)
    local pipe = io.popen(command .. " 2>/dev/null")
    local line = pipe and pipe:read "l"
    if pipe then
        pipe:close()
    end
    return line ~= "" and line or default
end

-- The machine and the server, in words.
local function surroundings(settings)
    local server = '"$TIDEPOOL_TEST_BINDIR"/postgres --version'
    return {
        date = os.date "!%Y-%m-%d",
        cores = math.tointeger(tonumber(first_line("nproc", "1"))),
        memory_mb = math.tointeger(tonumber(first_line(MEMORY, "0"))),
        processor = first_line(PROCESSOR, "unknown"),
        system = first_line("uname -sr", "unknown"),
        server = first_line(server, "unknown"),
        rounds = settings.rounds,
    }
end

local function number(format, value)
    return value and format:format(value) or ""
end

local function thousands(value)
    if not value then
        return ""
    end
    local text = ("%.0f"):format(value)
    return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function megabytes(entry)
    if entry.peak_kb then
        return ("%.0f, %.0f MB"):format(entry.peak_one_kb / 1024, entry.peak_kb / 1024)
    elseif entry.further_kb then
        return ("%.0f kB"):format(entry.further_kb)
    end
    return number("%+.0f kB", entry.growth_kb)
end

local columns = { "workload", "contestant", "per second", "of C", "CPU µs", "of C", "memory" }

local function row_of(entry)
    return {
        entry.workload, entry.contestant.label, thousands(entry.per_second), number("%.2f", entry.ratio),
        number("%.3g", entry.cpu_us), number("%.2f", entry.cpu_ratio), megabytes(entry),
    }
end

local function print_rows(rows)
    local widths = {}
    for _, row in ipairs(rows) do
        for i, cell in ipairs(row) do
            widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell)
        end
    end
    for number_of_row, row in ipairs(rows) do
        local cells, rule = {}, {}
        for i, cell in ipairs(row) do
            local blank = (" "):rep(widths[i] - (utf8.len(cell) or #cell))
            cells[i] = i <= 2 and cell .. blank or blank .. cell
            rule[i] = ("-"):rep(widths[i] + (i <= 2 and 2 or 1)) .. (i <= 2 and "" or ":")
        end
        print("| " .. table.concat(cells, " | ") .. " |")
        if number_of_row == 1 then
            print("|" .. table.concat(rule, "|") .. "|")
        end
    end
end

--- Prints the table, with what each workload is, and who was left out.
function M.print(outcomes, settings, lines)
    local around = surroundings(settings)
    print(("\n%s; %d cores (%s), %d MB, %s;"):format(
        around.date, around.cores, around.processor, around.memory_mb, around.system))
    print(("%s over TCP on 127.0.0.1; medians of %d interleaved rounds\n"):format(around.server, around.rounds))
    local rows = { columns }
    for _, outcome in ipairs(outcomes) do
        for _, entry in ipairs(outcome.entries) do
            rows[#rows + 1] = row_of(entry)
        end
    end
    print_rows(rows)
    print()
    for _, outcome in ipairs(outcomes) do
        local group = outcome.group
        print(("%s: %s, per %s.%s"):format(group.name, group.title, group.per, group.note and " " .. group.note or ""))
    end
    for _, line in ipairs(lines) do
        print(line)
    end
end

local function to_json(value)
    if type(value) == "table" then
        local parts = {}
        if value[1] ~= nil or next(value) == nil then
            for i, item in ipairs(value) do
                parts[i] = to_json(item)
            end
            return "[" .. table.concat(parts, ",") .. "]"
        end
        for name, item in pairs(value) do
            parts[#parts + 1] = ("%s:%s"):format(to_json(name), to_json(item))
        end
        table.sort(parts)
        return "{" .. table.concat(parts, ",") .. "}"
    elseif type(value) == "string" then
        return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
    end
    return math.type(value) == "float" and ("%.6g"):format(value) or tostring(value)
end

--- Writes everything, the rounds included, to a file.
function M.write_json(outcomes, settings, lines, path)
    local results = {}
    for _, outcome in ipairs(outcomes) do
        for _, entry in ipairs(outcome.entries) do
            results[#results + 1] = {
                group = outcome.group.name, workload = entry.workload, per = outcome.group.per,
                contestant = entry.contestant.key, label = entry.contestant.label, base = entry.base,
                per_second = entry.per_second, cpu_us = entry.cpu_us, ratio = entry.ratio,
                cpu_ratio = entry.cpu_ratio, peak_kb = entry.peak_kb, peak_one_kb = entry.peak_one_kb,
                memory_kb = entry.memory_kb, further_kb = entry.further_kb, growth_kb = entry.growth_kb,
                rounds = entry.rounds,
            }
        end
    end
    local file = assert(io.open(path, "w"))
    assert(file:write(to_json { surroundings = surroundings(settings), results = results, left_out = lines }, "\n"))
    assert(file:close())
end

return M
