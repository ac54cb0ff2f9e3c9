--- What becomes of nginx's workers: they end when they should, and leave nothing behind.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local NAME = "openresty_workers"

local FILES = {
    ["db.lua"] = [[
        local tidepool = require "tidepool"
        return assert(tidepool.open { pool = { min = 1, max = 4 }, log = { queries = false } })
    ]],
}

local SERVER = [[
    location = /value { content_by_lua_block { ngx.print(require "db":value "select 42") } }
    location = /long { content_by_lua_block { ngx.print(require "db":value "select 42 from pg_sleep(1)") } }
    location = /three {
        content_by_lua_block {
            local sum = 0
            for _ = 1, 3 do sum = sum + require "db":value "select 1 from pg_sleep(0.3)" end
            ngx.print(sum)
        }
    }
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid(), " ", require "db":value "select 42") } }
]]

if nginx.absent() then
    return describe("a worker of nginx", function()
        pending(nginx.absent())
    end)
end

describe("a worker of nginx", function()
    local site, temporary
    before_each(function()
        temporary = server.sh "mktemp -d":gsub("\n", "")
        server.sh("chmod 777 " .. temporary)
        site = nginx.start {
            server = SERVER, files = FILES, url = server.url { application_name = NAME },
            main = "worker_processes 1; env TMPDIR=" .. temporary .. ";",
        }
        assert.equal("42", site:get "/value")
    end)
    after_each(function()
        site:stop()
        assert.is_true(server.wait(function() return server.backends(NAME) == 0 end))
        assert.equal("", (server.sh("ls -A " .. temporary)))
        server.sh("rm -r " .. temporary)
    end)

    it("has no file of its own, so that even kill -9 leaves none", function()
        assert.equal("", (server.sh("ls -A " .. temporary)))
        local worker = site:workers()[1]
        site:signal("KILL", worker)
        assert.is_true(site:wait_end { worker })
        assert.is_true(server.wait(function() return site:get "/value" == "42" end))
    end)

    it("that is idle ends soon after a reload", function()
        local old = site:reload()
        assert.is_true(site:wait_end(old, 3000))
        assert.equal("42", site:get "/value")
        assert.is_true(server.wait(function() return server.backends(NAME) == 1 end))
    end)

    it("answers what it has begun before it ends, with new queries too", function()
        local long, three = site:begin "/long", site:begin "/three"
        server.sleep(100)
        local old = site:reload()
        assert.equal("42", long())
        assert.equal("3", three())
        assert.is_true(site:wait_end(old, 3000))
    end)

    it("answers what it has begun before it quits", function()
        local long = site:begin "/long"
        server.sleep(100)
        local old = site:workers()
        site:signal "QUIT"
        assert.equal("42", long())
        assert.is_true(site:wait_end(old, 3000))
    end)

    it("ends at once when it is told to, whatever runs", function()
        local long = site:begin "/long"
        server.sleep(100)
        local old = site:workers()
        site:signal "TERM"
        assert.is_true(site:wait_end(old, 900))
        long()
    end)

    it("serves on while others reload again and again", function()
        local answers = {}
        for _ = 1, 5 do
            site:reload()
            for _, answer in ipairs(site:get_many("/value", 20, 10)) do
                answers[#answers + 1] = answer
            end
        end
        assert.equal(100, #answers)
        for _, answer in ipairs(answers) do
            assert.equal("42 200", answer)
        end
    end)
end)

describe("several workers of nginx", function()
    it("each have a pool of their own, though the code was loaded before they were forked", function()
        local site = nginx.start {
            main = "worker_processes 3;", http = [[init_by_lua_block { require "db" }]], server = SERVER, files = FILES,
            url = server.url { application_name = NAME },
        }
        finally(function() site:stop() end)
        local seen, count = {}, 0
        server.wait(function()
            for _, answer in ipairs(site:get_many("/pid", 30, 30)) do
                local pid, status = answer:match "^(%d+) 42 (%d+)$"
                assert.equal("200", status)
                count = seen[pid] and count or count + 1
                seen[pid] = true
            end
            return count == 3
        end)
        assert.equal(3, count)
        assert.is_true(server.backends(NAME) >= 3)
    end)
end)

describe("a worker of nginx with too few timers", function()
    it("names the directive", function()
        local site = nginx.start {
            files = FILES, http = "lua_max_running_timers 1;",
            server = SERVER .. [[
                location = /occupy {
                    content_by_lua_block { ngx.print(tostring(ngx.timer.at(0, function() ngx.sleep(12) end))) }
                }
                location = /occupied {
                    content_by_lua_block {
                        local good, err = pcall(function() return require "db":value "select 42" end)
                        ngx.print(tostring(good), " ", tostring(err))
                    }
                }
            ]],
        }
        finally(function() site:stop() end)
        assert.equal("1", site:get "/occupy")
        assert.matches("lua_max_running_timers", (site:get "/occupied"))
    end)
end)

describe("a worker of nginx that is not root's", function()
    it("is told by its beacon too", function()
        if server.sh "id -u" ~= "0\n" then
            return -- then none of the workers here is
        end
        local as_nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups "
        if select(2, server.sh(as_nobody .. [[test -r "$PWD/lua/tidepool/init.lua"]])) ~= 0 then
            return pending "the user nobody may read nothing in this folder"
        end
        local site = nginx.start {
            files = FILES, server = SERVER, user = "nobody nogroup", url = server.url { tcp = true },
        }
        finally(function() site:stop() end)
        assert.equal("42", site:get "/value")
    end)
end)
