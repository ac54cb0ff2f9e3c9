--- Numbers of the benchmark: reading answers, medians, ratios.
local M = {}

--- The parts of a line between its tabs.
function M.split(line)
    local parts = {}
    for part in (line .. "\t"):gmatch "([^\t]*)\t" do
        parts[#parts + 1] = part
    end
    return parts
end

--- An answer as a table of numbers by name, or nil and why there is none.
function M.parse(line)
    local parts = M.split(line)
    if parts[1] ~= "ok" then
        return nil, parts[2] or ("unreadable: " .. line)
    end
    local answer = {}
    for i = 2, #parts do
        local name, value = parts[i]:match "^(%w+)=(.+)$"
        if name then
            answer[name] = tonumber(value)
        end
    end
    return answer
end

--- The median; of an even number of values the mean of the two in the middle. nil for an empty list.
function M.median(values)
    local sorted = table.move(values, 1, #values, 1, {})
    table.sort(sorted)
    local middle = #sorted // 2
    if #sorted % 2 == 1 then
        return sorted[middle + 1]
    end
    return sorted[middle] and (sorted[middle] + sorted[middle + 1]) / 2
end

local function per_second(round)
    return round.operations / round.seconds
end

local function cpu_us(round)
    return round.cpu and round.cpu / round.operations * 1e6
end

-- What fn makes of each round; a figure that a contestant does not give is left out.
local function each(rounds, fn)
    local values = {}
    for _, round in ipairs(rounds) do
        values[#values + 1] = fn(round)
    end
    return values
end

-- The median of what the rounds are to the same rounds of the base.
local function ratio(entry, base, fn)
    local values = {}
    for i, round in ipairs(entry.rounds) do
        local ours, theirs = fn(round), base.rounds[i] and fn(base.rounds[i])
        values[#values + 1] = ours and theirs and ours / theirs
    end
    return M.median(values)
end

--- Fills in what the rounds of a group come to: per_second, cpu_us, ratio, cpu_ratio.
function M.compare(entries)
    local by_name = {}
    for _, entry in ipairs(entries) do
        by_name[entry.contestant.key .. " " .. entry.workload] = entry
    end
    for _, entry in ipairs(entries) do
        local base = by_name[entry.base[1] .. " " .. entry.base[2]]
        entry.per_second = M.median(each(entry.rounds, per_second))
        entry.cpu_us = M.median(each(entry.rounds, cpu_us))
        entry.ratio = base and ratio(entry, base, per_second)
        entry.cpu_ratio = base and ratio(entry, base, cpu_us)
    end
end

--- The peak of a process's resident memory in kilobytes, nil when the system does not say.
function M.peak_kb(pid)
    local file = io.open(("/proc/%d/status"):format(pid))
    local text = file and file:read "a" or ""
    if file then
        file:close()
    end
    return math.tointeger(tonumber(text:match "VmHWM:%s*(%d+) kB"))
end

return M
