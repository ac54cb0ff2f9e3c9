--- What the HTTP handler keeps between requests: answers that cost something, for a few seconds, and how the pool has
-- done in the last minutes. It belongs to the database, whichever options a request is handled with.
-- @module tidepool.http.memory
local core = require "tidepool.core"
local figures = require "tidepool.http.figures"

local M = {
    EVERY_MS = 2000, -- how often a sample is taken at most
}

local SAMPLES = 300 -- ten minutes

-- By database; one that the program has dropped takes it along.
local memories = setmetatable({}, { __mode = "k" })

local function of(db)
    local memory = memories[db]
    if not memory then
        memory = { kept = {}, samples = {}, last = 0, since = core.time() }
        memories[db] = memory
    end
    return memory
end

--- What `make` returns, made at most once in `ms`. While one request makes it, the others get what was before, if there
-- was anything. An error is not kept.
-- @param make a function that returns a value, or nil and an error; it may wait
function M.kept(db, name, ms, make)
    local kept = of(db).kept
    local entry, now = kept[name] or {}, core.now()
    kept[name] = entry
    local is_fresh = entry.made and now - entry.made < ms
    -- Whoever makes it may have been ended in the middle: the others do not wait for ever.
    local is_made = entry.began and now - entry.began < 5000
    if entry.value ~= nil and (is_fresh or is_made) then
        return entry.value
    end
    entry.began = now
    local value, err = make()
    entry.began = nil
    if value == nil then
        return nil, err
    end
    entry.value, entry.made = value, core.now()
    return value
end

--- Notes how the pool does, unless that was done a moment ago. Costs some microseconds and never waits.
function M.sample(db)
    local memory, now = of(db), core.now()
    if memory.sampled and now - memory.sampled < M.EVERY_MS * 0.9 then
        return
    end
    memory.sampled = now
    local state = db:state().state
    if state ~= memory.state then
        memory.state, memory.since = state, core.time()
    end
    local sample = figures.sample(db)
    if sample then
        memory.last = memory.last + 1
        memory.samples[memory.last % SAMPLES] = sample
    end
end

--- The samples that were taken after a moment, the oldest first.
-- @param since seconds since 1970
function M.history(db, since)
    local memory, list = of(db), core.array {}
    for i = math.max(1, memory.last - SAMPLES + 1), memory.last do
        local sample = memory.samples[i % SAMPLES]
        if sample.time > since then
            list[#list + 1] = sample
        end
    end
    return list
end

--- Since when the pool has been in its state, as far as was looked: seconds since 1970.
function M.since(db)
    return of(db).since
end

--- Tells the log of the database of an error that a request has ended with.
function M.report(db, err)
    local logger = db:_state().logger
    if logger then
        logger:write("error", "a request to tidepool.http has failed", { error = tostring(err) })
    end
end

return M
