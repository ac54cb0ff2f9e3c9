--- The judge of a soak: reads what the workers have noted and the server has logged, and says which promise was kept.
local server = require "spec.support.server"
local socket = require "socket"

local M = {}

-- What a worker may grow by between the first and the last fifth of a run: a part, and kilobytes.
local BOUNDS = {
    lua = { name = "memory of Lua grew (kB)", part = 0.05, plus = 256 },
    rss = { name = "resident memory grew (kB)", part = 0.10, plus = 4096 },
    references = { name = "entries of the Lua registry grew", part = 0, plus = 32 },
}
local LATE_MS, RECOVERY_MS, FULL_MS = 1000, 1000, 5000

-- ----------------------------------------------------------------------- notes

-- What becomes of a line of notes, by its first word.
local readers = {}
function readers.pid(notes, rest) notes.pid = tonumber(rest) end
function readers.begin(notes, rest) notes.began = tonumber(rest) end
function readers.last(notes, rest) notes.last = tonumber(rest) end
function readers.gap(notes, rest)
    local from, to = rest:match "(%S+) (%S+)"
    notes.gaps[#notes.gaps + 1] = { from = tonumber(from), to = tonumber(to) }
end
function readers.full(notes, rest)
    local time, full = rest:match "(%S+) (%d)"
    notes.full[#notes.full + 1] = { time = tonumber(time), full = full == "1" }
end
function readers.memory(notes, rest)
    local time, lua, rss, references = rest:match "(%S+) (%S+) (%S+) (%S+)"
    notes.memory[#notes.memory + 1] = {
        time = tonumber(time), lua = tonumber(lua), rss = tonumber(rss), references = tonumber(references),
    }
end
function readers.took(notes, rest)
    local _, late, kind = rest:match "(%S+) (%S+) (.*)"
    notes.late[#notes.late + 1] = { ms = tonumber(late), kind = kind }
end
function readers.calls(notes, rest)
    local calls, successes = rest:match "(%d+) (%d+)"
    notes.calls, notes.successes = tonumber(calls), tonumber(successes)
end
function readers.descriptors(notes, rest)
    local before, after = rest:match "(%d+) (%d+)"
    notes.descriptors = { tonumber(before), tonumber(after) }
end
readers["end"] = function(notes) notes.ended = true end
for _, word in ipairs { "wrong", "victim", "strange" } do
    readers[word] = function(notes, rest) table.insert(notes[word], rest) end
end

--- What a worker has noted up to now.
function M.read(path)
    local notes = {
        gaps = {}, full = {}, memory = {}, late = {}, wrong = {}, victim = {}, strange = {}, calls = 0, successes = 0,
    }
    local file = io.open(path)
    for line in file and file:lines() or next, {} do
        local word, rest = line:match "^(%S+) ?(.*)$"
        if readers[word] then readers[word](notes, rest) end
    end
    if file then file:close() end
    return notes
end

-- -------------------------------------------------------------------- restarts

-- When the server accepted connections again, by server.now(); its log tells it by the clock of the wall.
local function restarts(log, from, to)
    local offset = socket.gettime() * 1000 - server.now()
    local zone = os.time() - os.time(os.date "!*t")
    local times = {}
    for line in io.lines(log) do
        local year, month, day, hour, min, sec, ms = line:match
            "^(%d+)-(%d+)-(%d+) (%d+):(%d+):(%d+)%.(%d+) .*ready to accept connections"
        if year then
            local wall = os.time { year = year, month = month, day = day, hour = hour, min = min, sec = sec } + zone
            local time = wall * 1000 + tonumber(ms) - offset
            if time > from and time < to then times[#times + 1] = time end
        end
    end
    return times
end

-- How long after `time` the first success came; shorter gaps than those noted count as none.
local function first_success(notes, time)
    for _, gap in ipairs(notes.gaps) do
        if gap.from < time and time <= gap.to then return gap.to - time end
    end
    return time <= (notes.last or 0) and 0 or math.huge
end

-- How long after `time` the pool had all its connections.
local function full_size(notes, time)
    local full = false
    for _, state in ipairs(notes.full) do
        if state.time > time then
            if full then return 0 end
            if state.full then return state.time - time end
        end
        full = state.full
    end
    return full and 0 or math.huge
end

-- --------------------------------------------------------------------- figures

local function percentile(sorted, part)
    return sorted[math.max(1, math.ceil(#sorted * part))] or 0
end

local function spread(values)
    table.sort(values)
    return ("%d times: p50 %.0f ms, p99 %.0f ms, max %.0f ms"):format(#values, percentile(values, 0.5),
        percentile(values, 0.99), values[#values] or 0)
end

local function median(samples, field, from, to)
    local values = {}
    for i = math.floor(#samples * from) + 1, math.floor(#samples * to) do
        values[#values + 1] = samples[i][field]
    end
    table.sort(values)
    return percentile(values, 0.5)
end

local function promise(results, name, count, examples)
    results[#results + 1] = { name = name, count = count, examples = count > 0 and examples or nil }
end

local function judge_replies(results, workers)
    for _, what in ipairs {
        { "wrong", "replies that belonged to another question" },
        { "victim", "statements cancelled that nobody had cancelled" },
        { "strange", "other things that must not be" },
    } do
        local all = {}
        for _, worker in ipairs(workers) do
            for _, text in ipairs(worker.noted[what[1]]) do
                all[#all + 1] = worker.name .. ": " .. text
            end
        end
        promise(results, what[2], #all, table.concat(all, "\n    ", 1, math.min(#all, 8)))
    end
end

local function judge_leaks(results, lines, workers)
    local left, texts = 0, {}
    for _, worker in ipairs(workers) do
        local before, after = table.unpack(worker.noted.descriptors or { 0, math.huge })
        left = left + (after > before and 1 or 0)
        texts[#texts + 1] = ("%s: %s before, %s after"):format(worker.name, before, after)
    end
    promise(results, "workers with more descriptors than at the beginning", left, table.concat(texts, ", "))
    for _, field in ipairs { "lua", "rss", "references" } do
        local bound, grown, changes = BOUNDS[field], 0, {}
        for _, worker in ipairs(workers) do
            local first = median(worker.noted.memory, field, 0.05, 0.2)
            local last = median(worker.noted.memory, field, 0.8, 1)
            local too_much = last > first * (1 + bound.part) + bound.plus
            grown = grown + (too_much and 1 or 0)
            changes[#changes + 1] = ("%s %d>%d"):format(worker.name, first, last)
        end
        lines[#lines + 1] = ("%-24s %s"):format(field, table.concat(changes, "  "))
        promise(results, ("workers whose %s by more than %d %% and %d")
            :format(bound.name, bound.part * 100, bound.plus), grown, table.concat(changes, "  "))
    end
end

local function judge_times(results, lines, workers, log, slack)
    local late, worst, success, full, from, to = {}, { ms = 0, kind = "none" }, {}, {}, 0, math.huge
    for _, worker in ipairs(workers) do
        from = math.max(from, worker.noted.began or 0)
        to = math.min(to, (worker.noted.last or 0) - 2000)
        for _, call in ipairs(worker.noted.late) do
            late[#late + 1] = call.ms
            if call.ms > worst.ms then worst = { ms = call.ms, kind = worker.name .. " " .. call.kind } end
        end
    end
    local times = restarts(log, from, to)
    for _, worker in ipairs(workers) do
        for _, time in ipairs(times) do
            success[#success + 1] = first_success(worker.noted, time)
            full[#full + 1] = full_size(worker.noted, time)
        end
    end
    lines[#lines + 1] = ("%-24s %s; the worst: %s"):format("past their deadline", spread(late), worst.kind)
    lines[#lines + 1] = ("%-24s %d"):format("restarts of the server", #times)
    lines[#lines + 1] = ("%-24s %s"):format("until the first success", spread(success))
    lines[#lines + 1] = ("%-24s %s"):format("until the full size", spread(full))
    promise(results, ("calls later than %d ms past their deadline"):format(LATE_MS * slack),
        worst.ms > LATE_MS * slack and 1 or 0, worst.kind)
    promise(results, ("first success after a restart later than %d ms (p99)"):format(RECOVERY_MS * slack),
        percentile(success, 0.99) > RECOVERY_MS * slack and 1 or 0, spread(success))
    promise(results, ("full size after a restart later than %d ms"):format(FULL_MS * slack),
        percentile(full, 1) > FULL_MS * slack and 1 or 0, spread(full))
end

--- Judges what the workers have noted.
-- @param workers each with `name` and `noted`, of M.read
-- @param log the path of the server's log
-- @param slack by how much bounds of time are widened, on a machine that does other things, too
-- @return a list of promises as of ledger.reconcile, a list of lines of figures
function M.judge(workers, log, slack)
    local results, lines = {}, {}
    for _, worker in ipairs(workers) do
        lines[#lines + 1] = ("%-24s %8d calls, %d well"):format(worker.name, worker.noted.calls, worker.noted.successes)
    end
    judge_replies(results, workers)
    judge_leaks(results, lines, workers)
    judge_times(results, lines, workers, log, slack)
    return results, lines
end

return M
