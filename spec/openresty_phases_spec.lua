--- tidepool within nginx's phases: those that can wait do, the others say so, and nothing blocks a worker.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local DB = [[
    local tidepool = require "tidepool"
    return assert(tidepool.open { pool = { min = 0, max = 4 }, log = { queries = false } })
]]

local HTTP = [[
    lua_shared_dict said 1m;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    init_by_lua_block {
        -- What a query comes to in a phase, for /said to tell.
        function try(phase)
            local value, err = require "db":value "select 40 + 2"
            ngx.shared.said:set(phase, value or err.kind .. ": " .. err.message)
            return value
        end
        try "init"
    }
    init_worker_by_lua_block { try "init_worker" }
    exit_worker_by_lua_block { ngx.log(ngx.NOTICE, "in the end ", select(2, require "db":value "select 42").message) }
    upstream balanced {
        server 0.0.0.1;
        balancer_by_lua_block { try "balancer" ngx.exit(503) }
    }
    server {
        listen unix:tls ssl;
        ssl_certificate_by_lua_block { try "ssl_cert" }
        location / { return 200 "tls"; }
    }
]]

local SERVER = [[
    location = /said {
        content_by_lua_block { ngx.print(ngx.shared.said:get(ngx.var.arg_phase)) }
    }
    location = /server_rewrite { content_by_lua_block { ngx.print(ngx.shared.said:get "server_rewrite") } }
    server_rewrite_by_lua_block { if ngx.var.uri == "/server_rewrite" then try "server_rewrite" end }
    location = /rewrite { rewrite_by_lua_block { ngx.print(try "rewrite") ngx.exit(200) } }
    location = /access { access_by_lua_block { ngx.print(try "access") ngx.exit(200) } }
    location = /content { content_by_lua_block { ngx.print(try "content") } }
    location = /timer {
        content_by_lua_block {
            assert(ngx.timer.at(0, function() try "timer" end))
            for _ = 1, 500 do
                if ngx.shared.said:get "timer" then break end
                ngx.sleep(0.01)
            end
            ngx.print(ngx.shared.said:get "timer")
        }
    }
    location = /subrequest { content_by_lua_block { ngx.print(ngx.location.capture("/content").body) } }
    location = /threads {
        content_by_lua_block {
            local db, began = require "db", ngx.now()
            local function nap(i) return db:value("select $1::int from pg_sleep(0.3)", i) end
            local threads, sum = {}, 0
            for i = 1, 4 do threads[i] = ngx.thread.spawn(nap, i) end
            for i = 1, 4 do sum = sum + select(2, assert(ngx.thread.wait(threads[i]))) end
            ngx.update_time()
            ngx.print(sum, " ", ngx.now() - began < 0.9)
        }
    }
    location = /coroutine {
        content_by_lua_block {
            local co = coroutine.wrap(function()
                for i = 1, 3 do coroutine.yield((require "db":value("select $1::int", i))) end
            end)
            ngx.print(co(), co(), co())
        }
    }
    location = /transaction {
        content_by_lua_block {
            ngx.print((require "db":transaction(function(tx)
                return tx:value "select 1" + tx:value "select 2"
            end)))
        }
    }
    location = /results { content_by_lua_block { ngx.print(select("#", require "db":value "select 42")) } }
    location = /each {
        content_by_lua_block {
            local sum = 0
            for row in require "db":each "select i from generate_series(1, 20000) i" do sum = sum + row.i end
            ngx.print(sum)
        }
    }
    location = /slow { content_by_lua_block { ngx.print(require "db":value "select 'slept' from pg_sleep(1)") } }
    location = /wait {
        content_by_lua_block { ngx.print((require "db":value "select pg_backend_pid() from pg_sleep(0.01)") and "ok") }
    }
    location = /quick { content_by_lua_block { ngx.print "quick" } }
    location = /error { content_by_lua_block { ngx.print(select(2, require "db":query "select 1/0").code) } }
    location = /timeout {
        content_by_lua_block {
            local _, err = require "db":query { "select pg_sleep(20)", timeout_ms = 100 }
            ngx.print(err.kind)
        }
    }
    location = /set { set_by_lua_block $x { try "set" return "x" } return 200 "ok"; }
    location = /header_filter { return 200 "ok"; header_filter_by_lua_block { try "header_filter" } }
    location = /body_filter { return 200 "ok"; body_filter_by_lua_block { try "body_filter" } }
    location = /log { return 200 "ok"; log_by_lua_block { try "log" } }
    location = /balancer { proxy_pass http://balanced; }
]]

local function tls_files()
    local folder = server.sh("mktemp -d"):gsub("\n", "")
    local output, code = server.sh(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=nginx "
        .. "-keyout %s/key.pem -out %s/certificate.pem 2>&1"):format(folder, folder))
    assert(code == 0, output)
    local files = { ["db.lua"] = DB }
    for _, name in ipairs { "key.pem", "certificate.pem" } do
        local file = assert(io.open(folder .. "/" .. name))
        files[name] = file:read "a"
        file:close()
    end
    server.sh("rm -r " .. folder)
    return files
end

if nginx.absent() then
    return describe("tidepool in nginx", function()
        pending(nginx.absent())
    end)
end

describe("tidepool in nginx", function()
    local site
    setup(function()
        site = nginx.start { http = HTTP, server = SERVER, files = tls_files() }
    end)
    teardown(function()
        if site then site:stop() end
    end)

    for _, phase in ipairs { "server_rewrite", "rewrite", "access", "content", "timer" } do
        it("waits in the phase " .. phase, function()
            assert.equal("42", site:get("/" .. phase))
        end)
    end

    it("waits in the phase ssl_cert", function()
        assert.equal("tls", (server.sh(("curl -sk -m 10 --unix-socket %s/tls https://nginx/"):format(site.folder))))
        assert.equal("42", site:get "/said?phase=ssl_cert")
    end)

    for _, phase in ipairs { "init", "init_worker", "set", "header_filter", "body_filter", "log", "balancer" } do
        it("says that it cannot wait in the phase " .. phase, function()
            if not phase:find "^init" then
                site:get("/" .. phase)
            end
            local said = server.wait(function()
                local body, status = site:get("/said?phase=" .. phase)
                return status == 200 and body ~= "nil" and body
            end)
            assert.matches("^validation: .*" .. phase .. " phase", said)
        end)
    end

    it("waits in a subrequest", function()
        assert.equal("42", site:get "/subrequest")
    end)

    it("runs the queries of one request's threads side by side", function()
        assert.equal("10 true", site:get "/threads")
    end)

    it("waits within a coroutine of the program's", function()
        assert.equal("123", site:get "/coroutine")
    end)

    it("runs a transaction", function()
        assert.equal("3", site:get "/transaction")
    end)

    it("returns as many results as everywhere", function()
        assert.equal("1", site:get "/results")
    end)

    it("streams rows", function()
        assert.equal("200010000", site:get "/each")
    end)

    it("gives errors of the server as everywhere", function()
        assert.equal("22012", site:get "/error")
    end)

    it("ends a query at its deadline", function()
        assert.equal("timeout", site:get "/timeout")
    end)

    it("answers others while a query runs", function()
        local slow = site:begin "/slow"
        server.sleep(50)
        local began = server.now()
        for _ = 1, 5 do
            assert.equal("quick", site:get "/quick")
        end
        assert.is_true(server.now() - began < 800)
        assert.equal("slept", slow())
    end)

    it("lets many requests wait for few connections", function()
        local answers = site:get_many("/wait", 200, 50)
        assert.equal(200, #answers)
        for _, answer in ipairs(answers) do
            assert.equal("ok 200", answer)
        end
    end)

    it("logs no error of its own", function()
        for line in site:log():gmatch "[^\n]+" do
            if line:find("[error]", 1, true) or line:find("[alert]", 1, true) or line:find("[crit]", 1, true) then
                assert.matches("balancer", line)
            end
        end
    end)

    it("says that it cannot wait in the phase exit_worker", function()
        local old = site:reload()
        assert.is_true(site:wait_end(old))
        assert.matches("in the end [^\n]*exit_worker phase", site:log())
    end)
end)

describe("tidepool in nginx without its code cache", function()
    it("waits, and leaves no thread behind", function()
        local site = nginx.start {
            http = "lua_code_cache off;", files = { ["db.lua"] = DB },
            server = [[location = /one { content_by_lua_block { ngx.print(require "db":value "select 'one'") } }]],
        }
        finally(function() site:stop() end)
        local function threads()
            return #server.sh(("ls /proc/%d/task"):format(site:workers()[1])):gsub("%d", "")
        end
        local before = threads()
        for _ = 1, 5 do
            assert.equal("one", site:get "/one")
        end
        assert.is_true(server.wait(function() return threads() <= before end))
    end)
end)
