--- What a program with an event loop feels of tidepool: very many waiters, and trouble that must not hold it up. The
--- programs of `make bench-loops` measure it; here they have to go through, and no hold-up of theirs may show.
-- Only Lua 5.4: the programs are written for it.
local server = require "spec.support.server"

local slow = (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") ~= "default"
local lua = os.getenv "LUA" or "lua5.4"

local function run(command, ...)
    local output, code = server.sh(command:format(...))
    assert.equal(0, code, output)
    return output
end

for _, loop in ipairs { "cqueues", "luv" } do
    describe("under " .. loop, function()
        it("a thousand tasks are served in order, refused at their own times, and have few descriptors", function()
            run("ulimit -n 100 && exec '%s' spec/bench/waiters.lua %s %d", lua, loop, slow and 300 or 1000)
        end)
    end)
end

-- To wait for a place that is silent would take seconds.
local function not_held_up(loop)
    local there = select(2, server.sh "spec/support/silent_net.sh true") == 0
    if not there then
        print "no network namespaces here: names are not looked up"
    end
    local loads = "rows,copy_in,copy_out,cancelled,full_backlog,silent_server,silent_tls"
    local output = run("%s '%s' spec/bench/stall.lua loops=%s ms=100 max_ms=%d only=%s",
        there and "spec/support/silent_net.sh" or "exec", lua, loop, slow and 2000 or 400,
        there and loads .. ",silent_names" or loads)
    assert.equal(0, select(2, output:gsub("not measured", "")))
end

describe("a loop is not held up by rows without end, cancels, and places that are silent:", function()
    for _, loop in ipairs { "cqueues", "luv" } do
        it(loop, function() not_held_up(loop) end)
    end

    local absent = require "spec.support.nginx".absent()
    if absent then
        print("no test with nginx: " .. absent)
    else
        it("nginx", function() not_held_up "nginx" end)
    end
end)
