--- Statistics of all workers of nginx: one total, whichever worker is asked.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local NAME = "openresty_stats"

local FILES = {
    ["db.lua"] = [[
        local tidepool = require "tidepool"
        return assert(tidepool.open { pool = { min = 0, max = 4 }, log = { queries = false } })
    ]],
}

local SERVER = [[
    location = /value { content_by_lua_block { ngx.print(require "db":value "select 42") } }
    location = /stats {
        content_by_lua_block {
            local stats = assert(require "db":stats { shared = true })
            ngx.print(ngx.worker.pid(), " ", stats.queries, " ", stats.query.count, " ", stats.processes)
        }
    }
]]

if nginx.absent() then
    return describe("the statistics of nginx's workers", function()
        pending(nginx.absent())
    end)
end

describe("the statistics of nginx's workers", function()
    local site
    before_each(function()
        site = nginx.start {
            server = SERVER, files = FILES, url = server.url { application_name = NAME }, main = "worker_processes 4;",
        }
    end)
    after_each(function()
        site:stop()
    end)

    -- What a worker says: its process id and what it counts.
    local function ask()
        local pid, queries, timed, processes = assert(site:get "/stats"):match "^(%d+) (%d+) (%d+) (%d+)$"
        assert.equal(queries, timed)
        return pid, tonumber(queries), tonumber(processes)
    end

    -- Asks until several workers have said the same, which each of them does from then on.
    local function assert_total(expected)
        assert.is_true(server.wait(function() return select(2, ask()) == expected end, 3000),
            ("%d, not %d"):format(select(2, ask()), expected))
        local pids, seen = {}, 0
        for _, answer in ipairs(site:get_many("/stats", 16, 8)) do
            local pid, queries = answer:match "^(%d+) (%d+)"
            assert.equal(tostring(expected), queries)
            if not pids[pid] then pids[pid], seen = true, seen + 1 end
        end
        return seen
    end

    it("are the number of requests that were sent, whichever is asked, also after a reload", function()
        for _, answer in ipairs(site:get_many("/value", 150, 8)) do
            assert.equal("42 200", answer)
        end
        assert.is_true(assert_total(150) > 1, "one worker has answered everything")
        assert.is_true(select(3, ask()) > 1)

        local old = site:reload()
        assert.is_true(site:wait_end(old, 5000))
        assert_total(150)
        for _ = 1, 10 do assert.equal("42", site:get "/value") end
        assert_total(160)
    end)

    it("begin anew with the next nginx, and lose nothing when a worker is killed", function()
        for _ = 1, 3 do assert.equal("42", site:get "/value") end
        assert_total(3)
        server.sleep(300) -- so that all has been published
        for _, worker in ipairs(site:workers()) do site:signal("KILL", worker) end
        assert.is_true(server.wait(function() return site:get "/value" == "42" end))
        assert_total(4)
        site:stop { keep_stats = true }
        site = nginx.start {
            server = SERVER, files = FILES, url = server.url { application_name = NAME }, main = "worker_processes 4;",
        }
        assert_total(0)
        assert.equal("42", site:get "/value")
        assert_total(1)
    end)
end)
