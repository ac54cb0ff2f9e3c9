--- Requests of nginx that end while they hold something: it is given up at once, not when the collector comes by.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local NAME = "openresty_requests"

local FILES = {
    ["db.lua"] = [[
        local tidepool = require "tidepool"
        return assert(tidepool.open {
            pool = { min = 0, max = 1, acquire_timeout_ms = 8000 }, log = { queries = false },
        })
    ]],
}

local SERVER = [[
    lua_check_client_abort on;
    location = /value { content_by_lua_block { ngx.print(require "db":value "select 42") } }
    location = /long { content_by_lua_block { ngx.print(require "db":value "select 42 from pg_sleep(30)") } }
    location = /exit {
        content_by_lua_block {
            ngx.thread.spawn(function() require "db":value "select 42 from pg_sleep(30)" end)
            ngx.sleep(0.1)
            ngx.exit(204)
        }
    }
    location = /exit_in_transaction {
        content_by_lua_block {
            require "db":transaction(function(tx)
                assert(tx:exec "insert into openresty_requests values (1)")
                ngx.exit(204)
            end)
        }
    }
    location = /exit_while_queued {
        content_by_lua_block {
            local db = require "db"
            db:with(function()
                for _ = 1, 3 do
                    ngx.thread.spawn(function() db:with(function() end) end)
                end
                ngx.sleep(0.05)
                ngx.exit(204)
            end)
        }
    }
    location = /forget {
        content_by_lua_block {
            forgotten = assert(require "db":acquire())
            ngx.print(forgotten:value "select 42")
        }
    }
    location = /is_released { content_by_lua_block { ngx.print(tostring(forgotten:is_released())) } }
    location = /use_forgotten { content_by_lua_block { ngx.print(select(2, forgotten:value "select 42").kind) } }
    location = /forget_stream {
        content_by_lua_block {
            next_row = require "db":each "select i from generate_series(1, 1000000) i"
            ngx.print(next_row().i)
        }
    }
    location = /use_stream {
        content_by_lua_block {
            local rows = 0
            local good, err = pcall(function() while next_row() do rows = rows + 1 end end)
            ngx.print(tostring(good), " ", rows < 999999, " ", type(err))
        }
    }
    location = /forget_in_timer {
        content_by_lua_block {
            assert(ngx.timer.at(0, function() forgotten = assert(require "db":acquire()) end))
            ngx.sleep(0.05)
            ngx.print "begun"
        }
    }
    location = /kill_thread {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function() require "db":value "select 42 from pg_sleep(30)" end)
            ngx.sleep(0.1)
            ngx.print(tostring(ngx.thread.kill(thread)))
        }
    }
    location = /exec {
        content_by_lua_block {
            ngx.thread.spawn(function() require "db":value "select 42 from pg_sleep(30)" end)
            ngx.sleep(0.1)
            ngx.exec "/there"
        }
    }
    location = /there { return 200 "there"; }
    location = /listen {
        content_by_lua_block {
            local db = require "db"
            local listener = assert(db:listen "openresty")
            ngx.thread.spawn(function() ngx.sleep(0.02) assert(db:notify("openresty", "heard")) end)
            ngx.print(assert(listener:next(5000)).payload, " ", select(2, listener:next(20)).kind)
            listener:close()
        }
    }
    location = /listen_in_timer {
        content_by_lua_block {
            heard = nil
            assert(ngx.timer.at(0, function()
                local listener = assert(require "db":listen "openresty")
                ready = true
                heard = assert(listener:next(5000)).payload
            end))
            while not ready do ngx.sleep(0.005) end
            assert(require "db":notify("openresty", "in a timer"))
            while not heard do ngx.sleep(0.005) end
            ngx.print(heard)
        }
    }
    location = /listen_forever { content_by_lua_block { assert(require "db":listen "openresty"):run(ngx.print) } }
    location = /listeners { content_by_lua_block { ngx.print(require "db":stats().listeners) } }
    location = /leased { content_by_lua_block { ngx.print(require "db":stats().active_connections) } }
]]

if nginx.absent() then
    return describe("a request of nginx that ends", function()
        pending(nginx.absent())
    end)
end

describe("a request of nginx that ends", function()
    local site
    setup(function()
        server.psql "create table if not exists openresty_requests (n int)"
        site = nginx.start { server = SERVER, files = FILES, url = server.url { application_name = NAME } }
    end)
    teardown(function()
        if site then site:stop() end
        server.psql "drop table openresty_requests"
    end)
    before_each(function()
        assert.equal("42", site:get "/value")
    end)

    -- The pool has one connection, so that a query is answered quickly only when that was given up.
    local function assert_free()
        local began = server.now()
        assert.equal("42", site:get "/value")
        assert.is_true(server.now() - began < 2000)
        assert.equal("0", site:get "/leased")
    end

    it("gives up its query when its client goes away", function()
        assert.is_nil(site:get("/long", { timeout_ms = 300 }))
        assert_free()
    end)

    it("gives up the query of its thread on ngx.exit", function()
        assert.equal(204, select(2, site:get "/exit"))
        assert_free()
    end)

    it("gives up its transaction, which is rolled back", function()
        assert.equal(204, select(2, site:get "/exit_in_transaction"))
        assert_free()
        assert.equal("0", server.psql "select count(*) from openresty_requests")
    end)

    it("gives up its places in the queue", function()
        assert.equal(204, select(2, site:get "/exit_while_queued"))
        assert_free()
    end)

    it("gives up a connection that it did not release, which is void then", function()
        assert.equal("42", site:get "/forget")
        assert.equal("true", site:get "/is_released")
        assert.equal("validation", site:get "/use_forgotten")
        assert_free()
    end)

    it("gives up the rows that it did not read", function()
        assert.equal("1", site:get "/forget_stream")
        assert_free()
        assert.equal("false true table", site:get "/use_stream")
        assert_free()
    end)

    it("gives up a connection that its timer did not release", function()
        assert.equal("begun", site:get "/forget_in_timer")
        assert.is_true(server.wait(function() return site:get "/is_released" == "true" end))
        assert_free()
    end)

    it("hears notifications, also in a timer", function()
        assert.equal("heard timeout", site:get "/listen")
        assert.equal("in a timer", site:get "/listen_in_timer")
        assert.is_true(server.wait(function() return site:get "/listeners" == "0" end))
        assert_free()
    end)

    it("gives up its listener when its client goes away", function()
        assert.is_nil(site:get("/listen_forever", { timeout_ms = 300 }))
        assert.is_true(server.wait(function() return site:get "/listeners" == "0" end))
        assert_free()
    end)

    it("gives up the query of a thread that it killed", function()
        assert.equal("1", site:get "/kill_thread")
        assert_free()
    end)

    it("gives up the query of its thread when it goes on elsewhere", function()
        assert.equal("there", site:get "/exec")
        assert_free()
    end)

    it("leaves no connection behind, however many do so at once", function()
        local pending_requests = {}
        for i = 1, 20 do
            pending_requests[i] = ("curl -s -m 0.2 -o /dev/null --unix-socket %s/http http://nginx/long &")
                :format(site.folder)
        end
        server.sh(table.concat(pending_requests, "\n") .. "\nwait")
        assert_free()
        assert.is_true(server.wait(function() return server.backends(NAME) <= 1 end))
    end)
end)
