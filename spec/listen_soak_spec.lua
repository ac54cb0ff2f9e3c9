--- Notifications with numbers, from several processes, while the server is restarted: none is lost outside of the
--- gaps that the listener is told of, none comes twice, and those of each sender come in their order.
---
--- COUNT says how many there are (make listen-soak: 100,000), SENDERS from how many processes.
-- Only Lua 5.4: what is shown is the core's, and the same on every Lua.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local server = require "spec.support.server"

local COUNT = tonumber(os.getenv "COUNT" or "") or 6000
local SENDERS = tonumber(os.getenv "SENDERS" or "") or 3
local MS = 600000

-- Sends numbers, some at a time in one transaction, and writes which of them may not have been sent: those of calls
-- that have failed. After each quarter it waits until the listener has been told of as many gaps; so no gap
-- is to come when the last number is sent.
local SENDER = [[
local tidepool = require "tidepool"
local name, count, most = arg[1], tonumber(arg[2]), tonumber(arg[3])
local db = assert(tidepool.open { log = { queries = false, slow_ms = 0, sink = function() end },
    retry = { base_ms = 10 }, pool = { min = 0, max = 1 } })
local restarts = assert(db:listen "restarts")
local function send(first, last)
    local rows = {}
    for i = first, last do rows[#rows + 1] = { name .. " " .. i } end
    return db:query_many("select pg_notify('soak', $1)", rows)
end
local function await(quarter)
    while (db:value "select n from restarts" or 0) < quarter do
        restarts:next(1000)
    end
end
math.randomseed(name:byte())
local i, quarter = 1, 0
while i <= count do
    local last = math.min(i + math.random(1, most) - 1, math.max(i, count - 1))
    if i * 4 > (quarter + 1) * count or i == count then
        quarter = math.min(quarter + 1, 3)
        await(quarter)
    end
    if not send(i, last) then
        print(i, last)
        db:wait_ready(10000)
    end
    i = last + 1
end
print "end"
db:close()
]]

local restarts = {
    function() server.kill9() server.start_again() end,
    function() server.stop_fast() server.start_again() end,
    function() server.stop_immediately() server.start_again() end,
}

-- What was heard, in its order: {name, number}, or a gap.
local function hear(db, listener, per_sender)
    local heard, notes, next_restart, ended = {}, 0, 1, 0
    local furthest, began, deadline = 0, server.now(), server.now() + MS
    while ended < SENDERS do
        local note, err = listener:next(30000)
        assert(note, tostring(err))
        assert(server.now() < deadline, "the senders have not ended in time")
        if note.gap then
            heard[#heard + 1] = { gap = note.reason }
            assert(db:wait_ready(10000))
            assert(db:exec("update restarts set n = $1", next_restart - 1))
            assert(db:notify "restarts")
        else
            local name, number = note.payload:match "^(%a+) (%d+)$"
            heard[#heard + 1] = { name = name, number = tonumber(number) }
            notes = notes + 1
            furthest = math.max(furthest, tonumber(number))
            ended = ended + (tonumber(number) == per_sender and 1 or 0)
        end
        if next_restart <= #restarts and furthest > (next_restart - 0.5) * per_sender / (#restarts + 1) then
            restarts[next_restart]()
            next_restart = next_restart + 1
        end
    end
    return heard, notes, next_restart - 1, server.now() - began
end

-- Checks what was heard of one sender. Returns how many are missing, all of them in gaps.
local function check(heard, name, unsent)
    local last, gap, missing = 0, false, 0
    for _, entry in ipairs(heard) do
        if entry.gap then
            gap = true
        elseif entry.name == name then
            assert(entry.number > last, ("%s %d came after %d"):format(name, entry.number, last))
            for number = last + 1, entry.number - 1 do
                assert(gap or unsent[number], ("%s %d is lost where no gap is"):format(name, number))
                missing = missing + (unsent[number] and 0 or 1)
            end
            last, gap = entry.number, false
        end
    end
    return missing
end

local function finish(sender)
    local unsent, ended = {}, false
    for line in sender:lines() do
        local first, last = line:match "^(%d+)\t(%d+)$"
        for number = tonumber(first) or 1, tonumber(last) or 0 do unsent[number] = true end
        ended = ended or line == "end"
        assert(first or ended, line)
    end
    local _, code = sender:finish()
    assert.equal(0, code)
    return unsent
end

it(("%d notifications are heard in their order, each once, and none is lost outside of gaps"):format(COUNT), function()
    local gaps_told = 0
    local db = assert(tidepool.open { url = server.url(), retry = { base_ms = 10 }, pool = { min = 0, max = 2 },
        log = { queries = false, slow_ms = 0, sink = function() end } })
    db:on("gap", function() gaps_told = gaps_told + 1 end)
    assert(db:script "create table restarts (n int not null); insert into restarts values (0)")
    local listener = assert(db:listen("soak", { limit = COUNT }))
    local per_sender, senders = math.floor(COUNT / SENDERS), {}
    for i = 1, SENDERS do
        local name = string.char(96 + i)
        senders[name] = child.start(SENDER, { DATABASE_URL = server.url() },
            { name, tostring(per_sender), COUNT > 20000 and "20" or "1" })
    end
    local heard, notes, restarted, took = hear(db, listener, per_sender)
    local missing, unsure, gaps = 0, 0, 0
    for name, sender in pairs(senders) do
        local unsent = finish(sender)
        for _ in pairs(unsent) do unsure = unsure + 1 end
        missing = missing + check(heard, name, unsent)
    end
    for _, entry in ipairs(heard) do
        gaps = gaps + (entry.gap and 1 or 0)
        assert(not entry.gap or entry.gap == "lost", entry.gap)
    end
    print(("  %d sent by %d processes: %d heard in %.1f s, %d restarts, %d gaps, %d missing in them, %d unsure")
        :format(per_sender * SENDERS, SENDERS, notes, took / 1000, restarted, gaps, missing, unsure))
    assert.equal(#restarts, restarted)
    assert.is_true(gaps >= #restarts and gaps <= 3 * #restarts, ("%d gaps"):format(gaps))
    db:stats()
    assert.equal(gaps, gaps_told)
    assert.is_nil((listener:next(50)))
    assert.is_true(missing + unsure < COUNT / 2)
    assert(db:script "drop table restarts")
    listener:close()
    db:close()
end)
