--- The faults of a soak. Each does its harm and undoes it before it returns; the server is up then.
local server = require "spec.support.server"

local M = {}

-- The connections of the workers.
local OURS = "backend_type = 'client backend' and application_name like 'soak %'"

local function between(least, most)
    return least + (most - least) * math.random()
end

local function pause(least_ms, most_ms)
    server.sleep(between(least_ms, most_ms))
end

local function signal(name, pids)
    if #pids > 0 then
        server.sh(("kill -%s %s 2>/dev/null"):format(name, table.concat(pids, " ")))
    end
end

local function backends(count)
    local pids = {}
    for pid in server.psql(("select pid from pg_stat_activity where %s order by random() limit %d")
        :format(OURS, count)):gmatch "%d+" do
        pids[#pids + 1] = pid
    end
    return pids
end

local function postmaster()
    local file = assert(io.open(server.pgdata .. "/postmaster.pid"))
    local pid = file:read "n"
    file:close()
    return { pid }
end

local function await_server()
    assert(server.wait(function() return (pcall(server.psql, "select 1")) end, 60000), "the server does not come back")
end

-- Of each: how many there are in the deck, its name, and what it does with the proxy.
local faults = {
    { 5, "kill -9 of the postmaster", function()
        server.kill9()
        pause(0, 1000)
        server.start_again()
    end },
    { 5, "fast stop and start", function()
        server.stop_fast()
        pause(0, 1500)
        server.start_again()
    end },
    { 1, "kill -9 of a backend", function()
        signal("KILL", backends(1))
        pause(100, 200)
        await_server()
    end },
    { 3, "backends terminated", function()
        server.psql(("select pg_terminate_backend(pid) from (select pid from pg_stat_activity where %s "
            .. "order by random() limit %d) chosen"):format(OURS, math.random(8)))
    end },
    { 2, "backends halted", function()
        local pids = backends(3)
        signal("STOP", pids)
        pause(800, 1500)
        signal("CONT", pids)
    end },
    { 1, "the postmaster halted", function()
        local pid = postmaster()
        signal("STOP", pid)
        pause(800, 1500)
        signal("CONT", pid)
    end },
    { 2, "links cut", function(link) link:cut() end },
    { 2, "links reset", function(link) link:cut "reset" end },
    { 1, "links refused and cut", function(link)
        link:refuse()
        link:cut()
        pause(300, 1500)
        link:accept()
    end },
    { 2, "links truncated", function(link)
        link:truncate(math.random(2000))
        pause(300, 1500)
    end },
    { 1, "links at a slow pace", function(link)
        link:pace(math.random(40), math.random(10), math.random(30))
        pause(500, 2000)
    end },
    { 1, "links late", function(link)
        link:pace(nil, 0, math.random(100, 400))
        pause(500, 2000)
    end },
}

-- Black holes. What was lost in them has its end by a reset.
for _, direction in ipairs { "both", "to_client", "to_server" } do
    faults[#faults + 1] = { 1, "a black hole, " .. direction:gsub("_", " "), function(link)
        link:hole(direction ~= "both" and direction or nil)
        pause(500, 2500)
        link:cut "reset"
    end }
end

for _, when in ipairs { "before", "after" } do
    for _, how in ipairs { "close", "reset" } do
        faults[#faults + 1] = { 1, ("COMMIT lost, %s the server has it (%s)"):format(when, how), function(link)
            local before = link:caught()
            link:lose_commit(when, how)
            server.wait(function() return link:caught() > before end, 3000)
        end }
    end
end

-- All faults in a random order, the first of which restarts the server.
local function shuffle()
    local deck = {}
    for _, fault in ipairs(faults) do
        for _ = 1, fault[1] do
            deck[#deck + 1] = fault
        end
    end
    for i = #deck, 2, -1 do
        local j = math.random(i)
        deck[i], deck[j] = deck[j], deck[i]
    end
    deck[#deck + 1] = faults[math.random(2)]
    return deck
end

--- Does harm until `deadline` (server.now()), with pauses between two faults.
-- @param link the proxy
-- @param gap { least, most } in milliseconds
-- @param tell function(name) is called before each
-- @return how many there were
function M.run(link, deadline, gap, tell)
    local deck, count = {}, 0
    while true do
        local wait = between(gap[1], gap[2])
        if server.now() + wait > deadline then
            return count
        end
        server.sleep(wait)
        if #deck == 0 then deck = shuffle() end
        local fault = table.remove(deck)
        tell(fault[2])
        fault[3](link)
        link:pass()
        count = count + 1
    end
end

return M
