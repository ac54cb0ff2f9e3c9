--- Event loops that tidepool can wait with, and which of them runs the calling code.
--
-- An adapter is a table; a program can give its own to tidepool.open{ await = ... }:
--
--     name             "cqueues": for errors
--     current(said)    a value that stands for the loop that runs the calling code, when that
--                      code is a task which the loop can suspend; else nil, and why, if it must
--                      not block either. `said`: the database was opened with this adapter
--     spawn(fn)        runs fn as a new task of the running loop
--     wait(fd, seconds)
--                      suspends the running task until fd can be read or the time has passed
--                      (nil: no limit); earlier does no harm. One task at a time does this
--     token()          a value that stands for the running task
--     park(token)      suspends the running task until wake(token) was called, be it before
--     wake(token)      lets the task go on later, from any task of the loop; it must not run it
--                      at once
--     timers = false   (optional) the loop has none: wait is called without seconds, and fd can
--                      be read in time
--     shared = true    (optional) tasks may be ended from outside at any time, so that the one who
--                      waits for the descriptor has to be a spawned one
-- @module tidepool.await.adapter
local failure = require "tidepool.failure"

local M = {}

--- Whether nginx runs this Lua: then the process is one of its workers, or the master that starts them.
function M.in_nginx()
    return type(rawget(_G, "ngx")) == "table" and ngx.get_phase ~= nil
end

-- In the order in which they are asked, with the library that has to be there. A loop that the
-- program has not loaded does not run it.
local known = {
    { name = "nginx", loaded = M.in_nginx },
    { name = "cqueues", loaded = function() return package.loaded["cqueues"] ~= nil end },
    { name = "luv", loaded = function() return package.loaded["luv"] ~= nil end },
    { name = "copas", loaded = function() return package.loaded["copas"] ~= nil end },
}

local function load(name)
    return require("tidepool.await." .. name)
end

--- The adapter whose loop runs the calling code.
-- @return the adapter and its loop; or nil: the call may block; or nil, nil and why it must not
function M.find()
    for _, entry in ipairs(known) do
        local adapter = entry.adapter
        if not adapter and entry.loaded() then
            adapter = load(entry.name)
            entry.adapter = adapter
        end
        if adapter then
            local loop, why = adapter.current(false)
            if loop then
                return adapter, loop
            elseif why then
                return nil, nil, why
            end
        end
    end
    return nil
end

local functions = { "current", "spawn", "wait", "token", "park", "wake" }

--- An adapter by name, or the program's own after a look at it. What is wrong raises an error.
function M.get(what)
    if type(what) == "string" then
        for _, entry in ipairs(known) do
            if entry.name == what then
                return load(what)
            end
        end
        failure.misuse("option 'await': no event loop '%s' is known (known: blocking, nginx, cqueues, luv, copas)",
            what)
    elseif type(what) ~= "table" then
        failure.misuse("option 'await' must be a name or an adapter, got a %s", type(what))
    end
    for _, name in ipairs(functions) do
        if type(what[name]) ~= "function" then
            failure.misuse("option 'await': the adapter has no function '%s'", name)
        end
    end
    return what
end

return M
