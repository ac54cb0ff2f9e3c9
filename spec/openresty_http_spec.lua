--- tidepool.http in nginx: curl gets the promised shapes from whichever worker answers; and `serve`, which starts one.
-- Only Lua 5.4: nginx brings its own Lua.
local core = require "tidepool.core"
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"
local shape = require "spec.support.shape"
local socket = require "socket"

local FILES = {
    ["db.lua"] = [[return assert(require "tidepool".open { pool = { min = 0, max = 2 }, log = { queries = false } })]],
}

local SERVER = [[
    location / {
        content_by_lua_block {
            require("tidepool.http").nginx(require "db", { service = "shop", token = "Zweig-1913" })
        }
    }
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    location = /query {
        content_by_lua_block { ngx.print(require "db":value "select 42") }
        log_by_lua_block { ngx.shared.sent:incr("queries", 1, 0) }
    }
    location = /sent { content_by_lua_block { ngx.print(ngx.shared.sent:get "queries" or 0) } }
]]

if nginx.absent() then
    return describe("tidepool.http in nginx", function()
        pending(nginx.absent())
    end)
end

describe("tidepool.http in nginx", function()
    local site, port

    setup(function()
        local taken = assert(socket.bind("127.0.0.1", 0)) -- and free again
        port = tonumber((select(2, taken:getsockname())))
        taken:close()
        server.psql "create database http_nginx"
        local where = { database = "http_nginx" }
        server.sh(("%s/psql -q '%s' -c '%s'"):format(server.bindir, server.url(where), [[
            create table http_thing (id int primary key, kind text);
            create index http_thing_unused on http_thing (kind)]]))
        site = nginx.start {
            server = SERVER, files = FILES, url = server.url(where), main = "worker_processes 4;",
            http = "lua_shared_dict sent 1m;", listen = "127.0.0.1:" .. port,
        }
    end)
    teardown(function()
        if site then site:stop() end
        server.psql "drop database http_nginx with (force)"
    end)

    local function get_json(path)
        local body, status = site:get(path)
        return assert(core.json_decode(body)), status
    end

    it("gives the shapes to the key, whichever of four workers answers", function()
        for _ = 1, 12 do
            local health, status = get_json "/health"
            assert.same({ shape.health, 200, "shop" }, { shape.of(health), status, health.service })
            local db_health
            db_health, status = get_json "/api/db/health"
            assert.same({ shape.db_health, 200, "healthy" }, { shape.of(db_health), status, db_health.status })
            local metrics
            metrics, status = get_json "/api/db/metrics"
            assert.same({ shape.db_metrics, 200 }, { shape.of(metrics), status })
        end
        local pids = {}
        for _, answer in ipairs(site:get_many("/pid", 200, 8)) do
            pids[answer] = true
        end
        assert.is_truthy(next(pids, (next(pids))), "more than one worker answers")
    end)

    it("sends the headers of each answer, and no body for HEAD", function()
        local text = site:get("/tidepool/metrics", { show_headers = true })
        local head, body = text:match "^(.-)\r\n\r\n(.*)$"
        assert.matches("Content%-Type: text/plain; version=0.0.4; charset=utf%-8", head)
        assert.matches("cache%-control: no%-store", head)
        assert.equal(#body, tonumber(head:match "content%-length: (%d+)"))
        text = site:get("/health", { method = "HEAD" })
        assert.matches("^HTTP/1.1 200 .-content%-length: %d+.-\r\n\r\n$", text)
        text = site:get("/health", { method = "PUT", show_headers = true })
        assert.matches("^HTTP/1.1 405 .-allow: GET, HEAD\r\n", text)
        assert.equal(404, select(2, site:get "/nothing"))
        assert.matches("# EOF", site:get("/metrics", { headers = { "accept: application/openmetrics-text" } }))
    end)

    it("does maintenance for who has the token, and reads no long bodies", function()
        local headers = { "authorization: Bearer Zweig-1913" }
        local body, status = site:get("/api/db/maintenance", { body = '{"action": "vacuumTables"}', headers = headers })
        assert.same({ 200, "public.http_thing" }, { status, core.json_decode(body).results[1].table })
        assert.equal(401, select(2, site:get("/api/db/maintenance", { body = '{"action": "vacuumTables"}' })))
        assert.equal(403, select(2, site:get("/api/db/maintenance", { body = '{"action": "vacuumTables"}',
            headers = { headers[1], "origin: http://evil.example" } })))
        for _, more in ipairs { "accept: x", "transfer-encoding: chunked" } do
            assert.equal(413, select(2, site:get("/api/db/maintenance",
                { body = ("x"):rep(50000), headers = { headers[1], more } })))
        end
    end)

    local function total()
        return tonumber(site:get "/metrics":match 'tidepool_queries_total{pool="http_nginx"} (%d+)')
    end

    -- What the workers did for the tests before this one is counted within 0.2 s.
    local function settled_total()
        local before, since = total(), server.now()
        assert.is_true(server.wait(function()
            local now = total()
            if now ~= before then before, since = now, server.now() end
            return server.now() - since > 500
        end))
        return before
    end

    local function all_workers_say(expected)
        assert.is_true(server.wait(function() return total() == expected end), ("not %d"):format(expected))
        for _ = 1, 20 do -- whichever worker is asked
            assert.equal(expected, total())
        end
    end

    it("counts what all its workers do", function()
        local before = settled_total()
        assert.equal(200, #site:get_many("/query", 200, 8))
        all_workers_say(before + 200)
    end)

    it("counts every request of wrk, each once", function()
        if select(2, server.sh "command -v wrk") ~= 0 then
            return pending "wrk is not installed (spec/support/deps.sh openresty)"
        end
        local before, sent_before, sent = settled_total(), tonumber((site:get "/sent")), nil
        local output, code = server.sh(("wrk -t 1 -c 16 -d 1s http://127.0.0.1:%d/query"):format(port))
        assert.equal(0, code, output)
        assert.is_true(server.wait(function() -- also those whose answers wrk has not waited for
            local last = sent
            sent = tonumber((site:get "/sent")) - sent_before
            return sent == last
        end))
        assert.is_true(sent >= tonumber(output:match "(%d+) requests in"), output)
        all_workers_say(before + sent)
    end)

    it("keeps samples of the last minutes in every worker, also when nobody asks", function()
        assert.is_true(server.wait(function()
            return #get_json "/tidepool/data.json".history >= 2
        end, 10000))
        local now = get_json "/tidepool/data.json".time
        assert.same({}, get_json("/tidepool/data.json?since=" .. now + 60).history)
    end)
end)

describe("tidepool serve", function()
    local built, folder

    setup(function()
        built = nginx.build()
        folder = server.sh 'mktemp -d "${TIDEPOOL_TEST_TMP:-/tmp}/serve-XXXXXX"':match "%S+"
    end)
    teardown(function()
        server.sh("rm -rf " .. folder)
    end)

    local function port_of()
        return math.random(20000, 32000)
    end

    -- Starts it in the background; its pid is in the folder, and what it says, too.
    local function start(options)
        return server.sh(([[cd %s && env TMPDIR=%s DATABASE_URL='%s' TIDEPOOL_HTTP_TOKEN=Zweig-1913 \
            LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' %s -e 'print(require "tidepool.http.serve".run { %s })' \
            >output 2>&1 </dev/null & echo $! >%s/pid]]):format(folder, folder, server.url(), built, built,
            os.getenv "LUA" or "lua5.4", options, folder))
    end

    local function content(name)
        return (server.sh(("cat %s/%s"):format(folder, name)))
    end

    local function has_ended()
        return select(2, server.sh(("kill -0 %s"):format(content "pid"))) ~= 0
    end

    it("answers on the loopback until a signal ends it, and leaves nothing behind", function()
        local url
        finally(function() server.sh("kill -TERM " .. content "pid") end) -- when it runs still
        for _ = 1, 10 do -- until a port is free
            local port = port_of()
            url = "http://127.0.0.1:" .. port
            start(("port = %d, workers = 2, service = [=[it\"s \\ here]=]"):format(port))
            if server.wait(function()
                return has_ended() or server.sh("curl -s -o /dev/null " .. url .. "/health && echo yes") == "yes\n"
            end) and not has_ended() then
                break
            end
        end
        assert.equal('it"s \\ here', core.json_decode((server.sh("curl -s " .. url .. "/health"))).service)
        assert.is_true(server.wait(function()
            return server.sh("curl -s " .. url .. "/metrics"):find "\ntidepool_up{[^}]*} 1\n" ~= nil
        end), "though nobody has asked for more")
        assert.matches("healthy", server.sh("curl -s " .. url .. "/api/db/health"))
        local answer = server.sh("curl -s -H 'authorization: Bearer Zweig-1913' -d '{\"action\":\"createIndexes\"}' "
            .. url .. "/api/db/maintenance")
        assert.matches("names no indexes", answer)
        assert.equal("421", server.sh("curl -s -o /dev/null -w '%{http_code}' -H 'host: evil.example' " .. url))
        assert.equal("drwx------\n", server.sh(("stat -c %%A %s/tidepool-serve-*"):format(folder)))
        assert.is_nil(content "tidepool-serve-*/nginx.conf":find("Zweig", 1, true), "no secrets in files")
        server.sh("kill -TERM " .. content "pid")
        assert.is_true(server.wait(has_ended, 10000))
        assert.equal("", server.sh(("ls -d %s/tidepool-serve-* 2>/dev/null"):format(folder)))
        assert.equal("", content "output")
    end)

    it("takes no request for another name on any address of the loopback", function()
        local serve = require "tidepool.http.serve"
        local function text_of(host)
            return serve.configuration({ host = host }, { modules = "", path = "", cpath = "", user = "" })
        end
        for _, host in ipairs { "127.0.0.1", "127.0.0.2", "::1", "localhost" } do
            assert.truthy(text_of(host):find("return 421", 1, true), host)
        end
        assert.truthy(text_of "127.0.0.2":find("server_name 127.0.0.1 localhost [::1] 127.0.0.2;", 1, true))
        assert.falsy(text_of "0.0.0.0":find("return 421", 1, true))
    end)

    it("says why it cannot", function()
        local serve = require "tidepool.http.serve"
        assert.same({ nil, "port must be a whole number from 1 to 65535" }, { serve.run { port = 70000 } })
        assert.matches("host must be a name", select(2, serve.run { host = "x; evil" }))
        assert.matches("nginx is not installed", select(2, serve.run { nginx = "/bin/false" }))
        assert.matches("must begin with postgresql", select(2, serve.run { url = "http://x/y" }))
        assert.has_error(function() serve.run { prot = 5 } end)
    end)
end)
