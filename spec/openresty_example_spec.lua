--- The example service on nginx, from its start to its end.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

if nginx.absent() then
    return describe("examples/openresty", function()
        pending(nginx.absent())
    end)
end

describe("examples/openresty", function()
    it("does what it shows", function()
        server.psql "create database openresty_example"
        finally(function() server.psql "drop database openresty_example with (force)" end)
        local built = nginx.build()
        local output, code = server.sh(("DATABASE_URL='%s' PSQL=%s/psql LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' "
            .. "LUA_CPATH='%s/build/luajit/lua/?.so;;' timeout 60 %s/examples/openresty/demo.sh"):format(
            server.url { database = "openresty_example" }, server.bindir, built, built, built, built))
        assert.equal(0, code, output)
        local statuses = {}
        for status in output:gmatch "HTTP (%d+)" do
            statuses[#statuses + 1] = status
        end
        assert.same({ "200", "201", "201", "409", "400", "200", "200", "404", "200", "200", "200" },
            statuses)
        assert.matches('"status":"ok"', output)
        assert.matches("ben@example.org", output)
        assert.matches("198 404", output)
        assert.matches("Reload: .*the workers are %d+ %d+\n", output)
    end)
end)
