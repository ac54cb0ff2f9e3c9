--- A worker of a soak: a process with a database, a loop and a load, and what it notes for the judge.
--
-- Its book (see ledger.lua) has the outcomes; its notes are lines of words:
--   pid N                   its process
--   begin TIME              the load begins; server.now()
--   last TIME               the last success
--   gap FROM TO             for more than 20 ms no call had a success
--   full TIME 0|1           its pool has all its connections, or has not
--   memory TIME LUA RSS REFERENCES   kilobytes after full collections, entries of the registry
--   took MS LATE KIND       a call that was late: how long it took, by how much past its deadline
--   wrong KIND              an answer that was not the question's
--   victim KIND TEXT        a statement that was cancelled although nobody had asked for that
--   strange TEXT            anything else that must not be
--   calls N SUCCESSES       in all
--   descriptors BEFORE AFTER
--   end
local failure = require "tidepool.failure"
local ledger = require "spec.soak.ledger"
local lfs = require "lfs"
local load = require "spec.soak.load"
local loops = require "spec.support.loops"
local process = require "spec.support.process"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local M = {}

local TASKS, GAP_MS, LOOK_MS, SAMPLES = 8, 20, 20, 100
-- How long a worker may go without a look around before SIGALRM ends it, and how long its last calls may take.
local HUNG_S, LAST_CALLS_MS = 60, 30000

local Worker = {}
Worker.__index = Worker

function Worker:note(format, ...)
    self.notes:write(format:format(...), "\n")
end

--- A number that no other question has.
function Worker:unique()
    self.uniques = self.uniques + 1
    return self.number * 1000000000 + self.uniques * 1000
end

function Worker:proves(right, kind)
    if not right then
        self:note("wrong %s", kind)
    end
end

-- Collects all garbage, in two turns: what a finalizer lets go of is garbage then. LuaJIT's machine code keeps what it
-- has met with.
local function collect()
    local jit = rawget(_G, "jit")
    if jit then jit.flush() end
    collectgarbage()
    collectgarbage()
end

local function gone() end

--- Runs fn in a coroutine that is dropped once `done` says so, at most after ten seconds.
function Worker:abandon(fn, done)
    local loop, step = self.loop, nil
    if loop.blocks then
        step = coroutine.wrap(fn)
    elseif loop.name == "cqueues" then
        step = require("cqueues.auxlib").wrap(fn)
    end
    if step then
        step()
        step = gone
    else
        loop.spawn(fn)
        local deadline = server.now() + 10000
        while not done() and server.now() < deadline do
            loop.sleep(2)
        end
    end
    if not done() then
        self:note "strange an abandoned coroutine did not get to its end"
    end
    fn = nil -- luacheck: ignore 311
    collect()
    return step
end

-- ---------------------------------------------------------------------- looking

local function resident_kb()
    local file = assert(io.open "/proc/self/statm")
    local _, pages = file:read("*n", "*n")
    file:close()
    return pages * 4
end

local function descriptors()
    local count = 0
    for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
    return count
end

local function references()
    local count = 0
    for _ in pairs(debug.getregistry()) do count = count + 1 end
    return count
end

-- A worker does not outlive the main program, nor a call of its own that never ends.
function Worker:stay_alive(now)
    self.beat_at = now + 1000
    if lfs.attributes("/proc/" .. self.parent, "mode") ~= "directory" then
        process.quit(1)
    end
    process.alarm(HUNG_S)
end

-- What is looked at now and then, in all pauses of the load.
function Worker:look()
    local now = server.now()
    if now >= self.beat_at then self:stay_alive(now) end
    if now >= self.look_at then
        self.look_at = now + LOOK_MS
        local stats = self.db:stats()
        local full = stats.idle_connections + stats.active_connections + stats.mending >= stats.max
        if full ~= self.full then
            self.full = full
            self:note("full %.1f %d", now, full and 1 or 0)
        end
    end
    if now >= self.sample_at then
        self.sample_at = now + self.length_ms / SAMPLES
        collect()
        self:note("memory %.1f %.0f %d %d", now, collectgarbage "count", resident_kb(), references())
    end
end

function Worker:succeeded(now)
    if self.last_success and now - self.last_success > GAP_MS then
        self:note("gap %.1f %.1f", self.last_success, now)
    end
    self.last_success = now
    self.successes = self.successes + 1
end

-- ------------------------------------------------------------------------ load

-- The server's cancels are answers to deadlines, which are told of as timeouts.
local QUERY_CANCELED = "57014"

function Worker:call()
    local kind, fn, deadline_ms = load.random()
    local began = server.now()
    local ok, result, err = loops.pcall(fn, self)
    local now = server.now()
    self.calls = self.calls + 1
    if not ok then
        self:note("strange %s raised %s", kind, tostring(result):gsub("%s+", " "))
    elseif result then
        self:succeeded(now)
    elseif not failure.is(err) then
        self:note("strange %s returned %s", kind, tostring(err))
    elseif err.code == QUERY_CANCELED and err.kind == "database" then
        self:note("victim %s %s", kind, tostring(err):gsub("%s+", " "))
    end
    if now - began > deadline_ms then
        self:note("took %.1f %.1f %s %s", now - began, now - began - deadline_ms, kind:gsub(" ", "_"),
            result and "well" or failure.is(err) and err.kind or "?")
    end
end

-- A task, until the load is over.
function Worker:toil()
    while server.now() < self.until_ms do
        self:call()
        self:look()
        self.loop.sleep(math.random(self.loop.blocks and 2 or 15))
    end
end

function Worker:watch()
    while server.now() < self.until_ms do
        self:look()
        self.loop.sleep(LOOK_MS)
    end
end

-- Runs tasks to their ends, at most for so long.
function Worker:run(tasks, at_most_ms)
    local deadline, left = server.now() + at_most_ms, #tasks
    for i, task in ipairs(tasks) do
        tasks[i] = function()
            local ok, err = loops.pcall(task)
            left = left - 1
            if not ok then
                self:note("strange a task raised %s", tostring(err):gsub("%s+", " "))
            end
        end
    end
    self.loop.go(tasks, function() return left == 0 or server.now() > deadline end)
    if left > 0 then
        self:note("strange %d tasks have not ended", left)
    end
end

-- ------------------------------------------------------------------------ whole

function Worker:open()
    local size = self.loop.blocks and 2 or 5
    self.db = assert(tidepool.open {
        url = self.url, application_name = "soak " .. self.name, await = self.loop.await,
        pool = { min = size, max = size, acquire_timeout_ms = 2000 }, connect_timeout_ms = 2000,
        query_timeout_ms = 2000, retry = { verdict_ms = load.VERDICT_MS },
        log = { queries = false, slow_ms = 0, sink = function() end },
    })
end

function Worker:close()
    collect()
    local ok, err = self.db:drain(10000)
    if not ok then
        self:note("strange drain: %s", tostring(err):gsub("%s+", " "))
    end
    self.db:close()
    self.db = nil
end

-- What a process needs once, it has after this.
function Worker:warm_up()
    self:open()
    local tasks = {}
    for i = 1, self.loop.blocks and 1 or TASKS do
        tasks[i] = function()
            for _, kind in ipairs(load.kinds) do
                loops.pcall(kind[3], self)
                self.loop.sleep(1)
            end
        end
    end
    self:run(tasks, 30000)
    self:run({ function() self:close() end }, 15000)
end

-- How many descriptors there are once closing has come to its end: at most so many, or as many as a moment before.
local function settled_descriptors(at_most)
    local last = math.huge
    server.wait(function()
        local before = last
        collect()
        server.sleep(100)
        last = descriptors()
        return last <= (at_most or before)
    end, 5000)
    return last
end

local function new(settings)
    local self = setmetatable({
        name = settings.name, number = tonumber(settings.number), url = settings.url, calls = 0, successes = 0,
        parent = settings.parent, uniques = 0, beat_at = 0, look_at = 0, sample_at = 0,
        length_ms = tonumber(settings.seconds) * 1000,
    }, Worker)
    self.notes = assert(io.open(settings.notes, "w"))
    self.notes:setvbuf "line"
    self.book = ledger.open_book(settings.book, self.number)
    self.loop = assert(loops.bare(settings.loop))
    return self
end

--- The worker's program. `settings`: name, number, loop, url, seconds, seed, parent (the main
--- program's process), notes and book (paths).
function M.main(settings)
    process.alarm(HUNG_S)
    math.randomseed(tonumber(settings.seed))
    local self = new(settings)
    self:note("pid %d", assert(io.open "/proc/self/stat"):read "*n")
    self:warm_up()
    local before = settled_descriptors()
    self:open()
    self.until_ms = server.now() + self.length_ms
    self:note("begin %.1f", server.now())
    local tasks = {}
    for i = 1, self.loop.blocks and 1 or TASKS do
        tasks[i] = function() self:toil() end
    end
    if not self.loop.blocks then
        tasks[#tasks + 1] = function() self:watch() end
    end
    self:run(tasks, self.length_ms + LAST_CALLS_MS)
    process.alarm(HUNG_S)
    self:run({ function() self:close() end }, 15000)
    self:note("last %.1f", self.last_success or 0)
    self:note("calls %d %d", self.calls, self.successes)
    self:note("descriptors %d %d", before, settled_descriptors(before))
    self.book:close()
    self:note "end"
    self.notes:close()
end

return M
