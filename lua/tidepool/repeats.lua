--- Statements that are made again and again where one would do (the N+1 pattern): a warning with the
--- line of the program.
--
-- Counted together is what is done in one block of with or transaction; outside of those in one
-- request of nginx, or in one task of an event loop within a second. A program that is neither
-- in a block nor a task is not looked at: loops that load data are what scripts are for.
-- @module tidepool.repeats
-- luacheck: std +ngx_lua
local compat = require "tidepool.compat"
local core = require "tidepool.core"
local events = require "tidepool.events"

--- on: whether any database counts, so that blocks of others cost nothing.
local M = { on = false }

local WINDOW_MS = 1000
-- Different statements that are counted in one scope at most.
local ROOM = 200

-- By the first word; what only begins and ends transactions may come often.
local counted = {
    select = true, insert = true, update = true, delete = true, merge = true, with = true, values = true, table = true,
}

-- Of each task: the counts of its innermost block, or its own.
local scopes = setmetatable({}, { __mode = "k" })

local function running()
    local co, is_main = compat.running()
    return co or "main", is_main or co == nil
end

-- The core tells of queries on the main coroutine only while somebody is in a block.
local function count_blocks(db, more)
    local state = db:_state()
    state.blocks = (state.blocks or 0) + more
    events.watch(db, state)
end

local function leave(db, task, before, ...)
    scopes[task] = before
    count_blocks(db, -1)
    return ...
end

--- compat.pcall of a block of the program's.
-- @param owner the database, or a connection of it
function M.pcall(owner, fn, argument)
    if not M.on then
        return compat.pcall(fn, argument)
    end
    local db = owner.acquire and owner or select(3, owner:_xact())
    local task = running()
    local before = scopes[task]
    scopes[task] = { counts = {}, known = 0, block = true }
    count_blocks(db, 1)
    return leave(db, task, before, compat.pcall(fn, argument))
end

-- The counts of the request that is being answered, or nil.
local function of_request()
    local found = rawget(_G, "ngx")
    if type(found) ~= "table" or not found.get_phase then
        return nil
    end
    local ok, ctx = pcall(function() return ngx.ctx end)
    if not ok or type(ctx) ~= "table" then
        return nil
    end
    ctx.tidepool_repeats = ctx.tidepool_repeats or { counts = {}, known = 0 }
    return ctx.tidepool_repeats
end

local function of_task(task)
    local scope, now = scopes[task], core.now()
    if not scope or now - scope.began > WINDOW_MS then
        scope = { counts = {}, known = 0, began = now }
        scopes[task] = scope
    end
    return scope
end

local function current()
    local task, is_main = running()
    local scope = scopes[task]
    if scope and scope.block then
        return scope
    end
    return of_request() or not is_main and of_task(task) or nil
end

local function warn(state, sql, count, place)
    local message = ("the same statement %d times: one for all would do"):format(count)
    state.logger:write("warning", message, { sql = sql, count = count, place = place, event = "repeats" })
    events.emit(state, "repeats", {
        event = "repeats", message = message, time = os.time(), sql = sql, count = count, place = place,
    })
end

--- Counts a query.
-- @param settings the log's: repeats, how often is too often
function M.note(state, settings, sql)
    local scope = current()
    if not scope then
        return
    end
    local text = core.fold(sql)
    if not counted[text:match "^%a*"] then
        return
    end
    local count = (scope.counts[text] or 0) + 1
    if count == 1 then
        if scope.known >= ROOM then
            return
        end
        scope.known = scope.known + 1
    end
    scope.counts[text] = count
    if count ~= settings.repeats + 1 then
        return
    end
    local place = core.place() or "?"
    state.repeats_told = state.repeats_told or {}
    if not state.repeats_told[place] then
        state.repeats_told[place] = true
        warn(state, text, count, place)
    end
end

return M
