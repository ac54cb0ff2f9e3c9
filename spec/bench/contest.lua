--- What the Lua contestants of `make bench` have in common: the conversation with the runner, told in contest.h.
local host = require "bench_host"

local M = {}

--- A message as one field of an answer.
local function field(message)
    return (tostring(message):gsub("[\t\r\n]+", " "))
end

--- The contestant cannot take part: says why and ends the program.
function M.absent(why)
    io.write("absent\t", field(why), "\n")
    io.stdout:flush()
    os.exit(0)
end

--- A module, or the end of the program when it is not installed.
function M.need(name)
    local found, module = pcall(require, name)
    if not found then
        M.absent(name .. " is not installed")
    end
    return module
end

-- A watch as workloads see it: watch:start(), watch:stop(operations); kb for memory.
local watch_methods = {}
local watch_metatable = { __index = watch_methods }

function watch_methods:start()
    self.began_cpu, self.began = host.cpu(), host.now()
end

function watch_methods:stop(operations)
    self.seconds = self.seconds + host.now() - self.began
    self.cpu = self.cpu + host.cpu() - self.began_cpu
    self.operations = self.operations + operations
end

--- Kilobytes of this process that are resident now.
function M.resident_kb()
    local file = assert(io.open "/proc/self/statm")
    local _, pages = file:read("n", "n")
    file:close()
    return pages * 4
end

-- Does a workload from a clean start: what an earlier one left is not the business of this one's collector.
local function answer(run, amount)
    local watch = setmetatable({ operations = 0, seconds = 0, cpu = 0, kb = 0 }, watch_metatable)
    collectgarbage()
    collectgarbage()
    local done, message = pcall(run, amount, watch)
    if done then
        return ("ok\toperations=%d\tseconds=%.6f\tcpu=%.6f\tkb=%d"):format(
            watch.operations, watch.seconds, watch.cpu, watch.kb)
    end
    return "failed\t" .. field(message)
end

--- Answers the runner until the input ends.
-- @param workloads a list of {name, function(amount, watch)}
function M.serve(label, workloads)
    local by_name, names = {}, {}
    for i, workload in ipairs(workloads) do
        names[i] = workload[1]
        by_name[workload[1]] = workload[2]
    end
    io.write("ready\t", label, "\t", table.concat(names, " "), "\n")
    io.stdout:flush()
    for line in io.lines() do
        local name, amount = line:match "^(%S+) (%d+)$"
        io.write(answer(by_name[name], math.tointeger(tonumber(amount))), "\n")
        io.stdout:flush()
    end
end

--- Calls fn(i) `amount` times under the watch.
function M.repeated(fn)
    return function(amount, watch)
        watch:start()
        for i = 1, amount do
            fn(i)
        end
        watch:stop(amount)
    end
end

--- The 10,000 rows of W6 and W7: lists of id, name, score, active.
function M.insert_rows()
    local rows = {}
    for i = 1, 10000 do
        rows[i] = { i, "name " .. i, i * 0.5, i % 3 == 0 }
    end
    return rows
end

--- DATABASE_URL in its parts: user, password, host, port, database.
function M.database()
    local user, password, name, port, database = os.getenv "DATABASE_URL":match "^%w+://(.-):(.-)@(.-):(%d+)/(.+)$"
    return { user = user, password = password, host = name, port = port, database = database }
end

return M
