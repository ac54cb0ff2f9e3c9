--- What the specs of faults have in common: databases whose connections are told apart from others, how long a call
--- took, and what is left at the end.
local assert = require "luassert"
local lfs = require "lfs"
local expect = require "spec.support.expect"
local server = require "spec.support.server"

local M = {}

local slow = (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") ~= "default"

--- How much later than its deadline a call may end, in milliseconds. An idle machine keeps LATE_MS=50; others may run
--- beside the tests.
M.LATE_MS = tonumber(os.getenv "LATE_MS") or (slow and 1000 or 250)

--- Whether this is a build that is slow.
M.slow = slow

--- How many descriptors this process has.
function M.descriptors()
    local count = 0
    for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
    return count
end

--- As expect.takes, for what ends at its deadline.
function M.ends_at(deadline, fn)
    return expect.takes(deadline - 1, deadline + M.LATE_MS, fn)
end

--- A database; `options` as in tidepool.open.
M.open = expect.opener { log = { queries = false, sink = function() end }, pool = { min = 0, max = 4 } }

--- Runs fn(name), whose databases have the name as their application_name and are closed at its end. After that this
--- process has the descriptors that it had before, and the server no connection of that name. `before_look`, if any, is
--- called in between.
function M.leaves_nothing(fn, before_look)
    collectgarbage()
    local name = ("lab %d"):format(math.random(1, 2 ^ 31))
    local before = M.descriptors()
    local ok, err = pcall(fn, name)
    if before_look then before_look() end
    if not ok then error(err, 0) end
    collectgarbage()
    assert.is_true(server.wait(function() return M.descriptors() <= before end, 5000), "descriptors are left")
    assert.is_true(server.wait(function() return server.backends(name) == 0 end, 5000), "backends are left")
end

return M
