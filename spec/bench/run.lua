--- The runner of `make bench`: asks the contestants for one workload after another, in interleaved rounds, and prints
--- what came of it. Settings are words such as rounds=7; Makefile and README name them.
local host = require "bench_host"
local figures = require "spec.bench.figures"
local report = require "spec.bench.report"

local settings = {
    rounds = 7, only = "all", peers = "all", each_rows = 10000000, deadline = 60,
    bin = "build/default/bench", installed = "build/bench", json = "build/bench.json",
}
for _, word in ipairs(arg) do
    local name, value = word:match "^(%w[%w_]*)=(.*)$"
    if settings[name or ""] == nil then
        error("bench: unknown setting " .. word, 0)
    elseif value ~= "" then
        settings[name] = math.tointeger(tonumber(value)) or value
    end
end

-- Told below the table.
local lines = {}
local function say(...)
    lines[#lines + 1] = string.format(...)
end

-- Whether a comma-separated list has the word.
local function names(list, word)
    return list == "all" or ("," .. list .. ","):find("," .. word .. ",", 1, true) ~= nil
end

-- Starts a contestant: the program, its label and the set of its workloads; nil and why not.
local function start(contestant)
    local why
    for _, command in ipairs(contestant.commands) do
        local program = assert(host.spawn(command))
        local line, failure = program:ask(nil, 30)
        local word, label, list = table.unpack(figures.split(line or ""))
        if word == "ready" then
            local workloads = {}
            for workload in list:gmatch "%S+" do
                workloads[#workloads + 1] = workload
            end
            return program, label, workloads
        end
        why = why or (word == "absent" and label) or "it does not start: " .. (failure or line)
        program:stop()
    end
    return nil, why
end

-- One answer: a table of numbers, or nil and why not.
local function ask(program, workload, amount, seconds)
    local line, failure = program:ask(("%s %d\n"):format(workload, amount), seconds)
    if not line then
        return nil, failure == "timeout" and ("no answer in %g s"):format(seconds) or "it ended"
    end
    return figures.parse(line)
end

-- The contestants that can take part, with label and workloads.
local function roll_call()
    local present = {}
    for _, contestant in ipairs(require "spec.bench.contestants"(settings.bin, settings.installed)) do
        if not contestant.peer or names(settings.peers, contestant.key) then
            local program, label, workloads = start(contestant)
            if program then
                program:stop()
                contestant.label, contestant.workloads = label, workloads
                present[#present + 1] = contestant
            else
                say("bench: %s is left out: %s", contestant.key, label)
            end
        end
    end
    return present
end

local function in_group(group, workload)
    return workload == group.name or workload:sub(1, #group.name + 1) == group.name .. "."
end

-- What takes part in a group: one entry for each contestant and workload. Those of one contestant share a program.
local function entries_of(group, present)
    local entries = {}
    for _, contestant in ipairs(present) do
        local shared = {}
        for _, workload in ipairs(contestant.workloads) do
            if in_group(group, workload) then
                entries[#entries + 1] = {
                    contestant = contestant, workload = workload, shared = shared, rounds = {},
                    base = group.bases and group.bases[workload] or group.base,
                }
            end
        end
    end
    return entries
end

local function drop(entries, entry, why)
    for i, other in ipairs(entries) do
        if other == entry then
            table.remove(entries, i)
        end
    end
    say("bench: %s of %s is left out: %s", entry.workload, entry.contestant.label, why)
    if entry.shared.program and not why:find "not there yet" then -- it may be in any state
        entry.shared.program:stop()
        entry.shared.program = nil
    end
end

local function program_of(entry)
    if not entry.shared.program then
        entry.shared.program = start(entry.contestant)
    end
    return entry.shared.program
end

-- The answer of an entry's program; an entry that has none is dropped, and the answer is false.
local function ask_or_drop(entries, entry, amount, seconds)
    local program = program_of(entry)
    local answer, why = nil, "it does not start again"
    if program then
        answer, why = ask(program, entry.workload, amount, seconds)
    end
    if not answer then
        drop(entries, entry, why)
    end
    return answer or false
end

-- Asks every entry once, beginning with another one in every round.
local function run_round(entries, round, amount, seconds)
    local order = {}
    for i = 1, #entries do
        order[i] = entries[(i + round - 2) % #entries + 1]
    end
    for _, entry in ipairs(order) do
        entry.rounds[round] = ask_or_drop(entries, entry, amount, seconds) or nil
    end
end

local function stop_all(entries)
    for _, entry in ipairs(entries) do
        if entry.shared.program then
            entry.shared.program:stop()
            entry.shared.program = nil
        end
    end
end

-- The peak of one result and of a whole round, each contestant and workload in a process of its own.
local function measure_peaks(group, entries)
    for _, entry in ipairs(table.move(entries, 1, #entries, 1, {})) do
        entry.shared = {}
        if ask_or_drop(entries, entry, 1, settings.deadline) then
            entry.peak_one_kb = figures.peak_kb(entry.shared.program:pid())
            if ask_or_drop(entries, entry, group.amount, settings.deadline) then
                entry.peak_kb = figures.peak_kb(entry.shared.program:pid())
            end
        end
        stop_all { entry }
    end
end

-- What a connection takes: the difference between holding none, one and many, by their number. One program after
-- another, so that the server has room for their connections.
local function measure_memory(group, entries)
    local none, one, many = table.unpack(group.memory)
    for _, entry in ipairs(table.move(entries, 1, #entries, 1, {})) do
        local round = {}
        for i, amount in ipairs(group.memory) do
            round[i] = round[i - 1] ~= false and ask_or_drop(entries, entry, amount, settings.deadline)
        end
        stop_all { entry }
        if round[3] then
            entry.memory_kb = (round[3].kb - round[1].kb) / (many - none)
            entry.further_kb = (round[3].kb - round[2].kb) / (many - one)
        end
    end
end

local function run_rounds(group, entries)
    local slices = group.slices or 1
    local amount, seconds = group.amount // slices, settings.deadline
    run_round(entries, 1, amount // 4 + 1, seconds) -- to warm up; the first round replaces the figures
    for round = 1, settings.rounds * slices do
        if round % slices == 0 then
            io.stderr:write(("bench: %s, round %d of %d\n"):format(group.name, round // slices, settings.rounds))
        end
        run_round(entries, round, amount, seconds)
    end
end

local function measure_rates(group, entries)
    if group.once then
        io.stderr:write(("bench: %s\n"):format(group.name))
        run_round(entries, 1, settings[group.once], 10 * settings.deadline)
    else
        run_rounds(group, entries)
    end
    stop_all(entries)
    if group.peak then
        measure_peaks(group, entries)
    end
    for _, entry in ipairs(entries) do
        entry.growth_kb = group.growth and entry.rounds[1].kb
    end
end

local function run_group(group, present)
    local entries = entries_of(group, present)
    local measure = group.memory and measure_memory or measure_rates
    measure(group, entries)
    stop_all(entries)
    figures.compare(entries)
    return { group = group, entries = entries }
end

local present = roll_call()
local outcomes = {}
for _, group in ipairs(require "spec.bench.workloads") do
    if names(settings.only, group.name) then
        outcomes[#outcomes + 1] = run_group(group, present)
    end
end
if #outcomes == 0 then
    error("bench: no such workload: " .. settings.only, 0)
end
report.print(outcomes, settings, lines)
report.write_json(outcomes, settings, lines, settings.json)
