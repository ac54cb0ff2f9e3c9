-- Pipelines: statements that are collected by a function and sent in one round trip.

local compat = require "tidepool.compat"
local failure = require "tidepool.failure"

local M = {}

local Pipeline = { __name = "tidepool.pipeline" }
Pipeline.__index = Pipeline

function Pipeline:__tostring()
    return ("tidepool.pipeline (%d statements)"):format(#self)
end

-- p:query(sql, ...) and the others: as on a database, but the answer comes when all have been
-- sent. Returns the position that the answer will have.
for _, name in ipairs { "query", "one", "value", "exec" } do
    Pipeline[name] = function(self, ...)
        local item = compat.pack(...)
        item.answer = name
        self[#self + 1] = item
        return #self
    end
end

--- Calls fn with a pipeline, then sends what it collected.
-- @param target what has the method _pipeline: a database or a connection
-- @param fn function(p)
-- @param[opt] options timeout_ms of the whole
-- @return the list of the answers; or nil and an error
function M.run(target, fn, options)
    if type(fn) ~= "function" then
        failure.misuse("a function expected, got %s", type(fn))
    end
    local pipeline = setmetatable({}, Pipeline)
    fn(pipeline)
    return target:_pipeline(pipeline, options)
end

return M
