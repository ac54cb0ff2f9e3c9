--- The log within nginx: it goes to the error log, repeated statements are counted by request, plans come in a timer.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local DB = [[
    local tidepool = require "tidepool"
    return assert(tidepool.open { pool = { min = 2, max = 4 },
        log = { queries = true, slow_ms = 100, explain = 100, repeats = 5, format = FORMAT } })
]]

local SERVER = [[
    location = /times {
        content_by_lua_block {
            local db = require "db"
            for _ = 1, tonumber(ngx.var.arg_n) do assert(db:value "select 5") end
            ngx.print "done"
        }
    }
    location = /slow {
        content_by_lua_block {
            local db = require "db"
            assert(db:wait_ready(5000))
            while db:stats().idle_connections < 2 do ngx.sleep(0.01) end
            assert(db:value "select pg_sleep(0.12)" == "")
            ngx.print "done"
        }
    }
    location = /plan {
        content_by_lua_block { ngx.print(require "db":slow_queries()[1].plan or "none") }
    }
]]

if nginx.absent() then
    return describe("the log in nginx", function() pending(nginx.absent()) end)
end

describe("the log in nginx", function()
    local site

    local function start(format)
        site = nginx.start { log = "info", server = SERVER, files = {
            ["db.lua"] = DB:gsub("FORMAT", ("%q"):format(format)),
        } }
    end

    after_each(function() site:stop() end)

    it("is its error log, with its levels, and warns of repeated statements once for each place", function()
        start "text"
        for _ = 1, 3 do assert.equal("done", (site:get "/times?n=5")) end
        assert.is_nil(site:log():find("the same statement", 1, true))
        for _ = 1, 3 do assert.equal("done", (site:get "/times?n=8")) end
        local log = site:log()
        assert.truthy(log:find "%[info%][^\n]*tidepool info: query [^\n]*sql=select 5", log)
        assert.truthy(log:find "%[warn%][^\n]*tidepool warning: the same statement 6 times", log)
        assert.equal(1, select(2, log:gsub("the same statement", "")))
    end)

    it("has JSON when asked, and plans of slow queries without keeping a request waiting", function()
        start "json"
        assert.equal("done", (site:get "/slow"))
        assert.truthy(server.wait(function() return site:get "/plan" ~= "none" end, 5000))
        assert.truthy((site:get "/plan"):find("Result", 1, true))
        local log = site:log()
        assert.truthy(log:find('"message":"slow query"', 1, true), log)
        assert.truthy(log:find('"message":"plan of a slow query"', 1, true), log)
    end)
end)
