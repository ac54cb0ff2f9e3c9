--- What happens on the way to the server's host: packets that are dropped without an answer, a host that cannot be
--- reached, one that knows nothing of its connections any more. It needs a network of its own, since a proxy on this
--- host always acknowledges what it is sent.
-- Only Lua 5.4: what waits, gives up and repeats is the core.
-- Alone: how soon all is well again depends on who else is busy.
local child = require "spec.support.child"
local lab = require "spec.faults.lab"
local server = require "spec.support.server"

local router_net = "spec/support/router_net.sh"

-- What the programs below begin with. The server is at 10.9.2.1, behind a router.
local PROLOGUE = [[
    local tidepool, server = require "tidepool", require "spec.support.server"
    local proxy = require "spec.faults.proxy"
    local late = tonumber(arg[1])
    local link = proxy.start(nil, { host = "10.9.2.1", through = "ip netns exec far" })
    local function open(parameters, options)
        local where = { url = link:url(parameters), log = { queries = false, sink = function() end },
            pool = { min = 0, max = 2, acquire_timeout_ms = 5000 } }
        for name, value in pairs(options or {}) do where[name] = value end
        return assert(tidepool.open(where))
    end
    local function is(expected, value, err)
        assert(value == expected, tostring(err))
    end
    local function router(command)
        assert(os.execute("ip -n router " .. command))
    end
    -- Runs fn() while the router does that with packets to the server's host ("blackhole", "unreachable").
    local function while_it_is(how, fn)
        router("route add " .. how .. " 10.9.2.1/32")
        local ok, err = pcall(fn)
        router("route del " .. how .. " 10.9.2.1/32")
        assert(ok, err)
    end
    local function ends_within(least, most, fn)
        local began = server.now()
        local result, err = fn()
        local took = server.now() - began
        assert(took >= least and took <= most + late, ("%.0f ms, not %d to %d"):format(took, least, most))
        return result, err
    end
]]

describe("the network", function()
    if select(2, server.sh(router_net .. " true")) ~= 0 then
        it("is broken behind a router", function() pending "no network namespaces can be had here" end)
        return
    end

    local function runs(program)
        local output, code = child.run(PROLOGUE .. program .. "\nlink:stop() print 'well'", nil,
            { tostring(lab.LATE_MS) }, router_net)
        assert.equal("well\n", output)
        assert.equal(0, code)
    end

    it("that drops every packet ends a statement at its deadline, and all is well when it is over", function()
        runs [[
            local db = open()
            is(1, db:value "select 1")
            while_it_is("blackhole", function()
                local _, err = ends_within(199, 200, function() return db:query { "select 2", timeout_ms = 200 } end)
                assert(err.kind == "timeout", tostring(err))
                _, err = ends_within(299, 300, function() return db:query { "select 3", timeout_ms = 300 } end)
                assert(err.kind == "connection" or err.kind == "pool_timeout", tostring(err))
            end)
            is(4, db:value { "select 4", timeout_ms = 5000 })
            assert(db:close())
        ]]
    end)

    it("that drops what is sent is given up after tcp_user_timeout, without any deadline", function()
        runs [[
            local db = open({ tcp_user_timeout = 1000 }, { query_timeout_ms = 0 })
            is(1, db:value "select 1")
            while_it_is("blackhole", function()
                local conn = assert(db:acquire())
                local _, err = ends_within(900, 3000, function() return conn:query "select 2" end)
                assert(err.kind == "connection" and not err.retryable, tostring(err))
                conn:release()
            end)
            assert(db:close())
        ]]
    end)

    it("that drops the answer is given up by keepalives, without any deadline", function()
        runs [==[
            local keepalives = { keepalives_idle = 1, keepalives_interval = 1, keepalives_count = 1 }
            keepalives.tcp_user_timeout = 1000
            local db = open(keepalives, { query_timeout_ms = 0 })
            local conn = assert(db:acquire(5000))
            local pid = conn:backend_pid()
            -- The way back breaks when all of the statement has arrived, and been acknowledged, and it runs.
            local runs = "select count(*) from pg_stat_activity where state = 'active' and pid = " .. pid
            local watcher = assert(io.popen(([[until [ "$(psql -qXAt '%s' -c "%s")" = 1 ]; do :; done
                sleep 0.2; ip -n router route add blackhole 10.9.2.1/32]]):format(server.url(), runs)))
            local _, err = ends_within(900, 6000, function() return conn:query "select pg_sleep(20)" end)
            assert(err.kind == "connection", tostring(err))
            watcher:close()
            router "route del blackhole 10.9.2.1/32"
            server.psql("select pg_terminate_backend(" .. pid .. ")") -- it would sleep to the end
            conn:release()
            assert(db:close())
        ]==]
    end)

    it("that is silent for less than the deadline costs nothing but time, and a statement is done once", function()
        runs [[
            server.psql "create table network_once (id int)"
            local db = open()
            assert(db:exec("insert into network_once values ($1)", 1))
            router "route add blackhole 10.9.2.1/32"
            local back = assert(io.popen "exec sh -c 'sleep 0.4; ip -n router route del blackhole 10.9.2.1/32'")
            local done = assert(db:exec({ "insert into network_once values ($1)", timeout_ms = 10000 }, 2))
            back:close()
            assert(done.count == 1)
            assert(server.psql "select count(*) from network_once" == "2")
            server.psql "drop table network_once"
            assert(db:close())
        ]]
    end)

    it("that cannot reach the host fails a call with that at its deadline, and serves who waits when it can", function()
        runs [[
            local db = open()
            while_it_is("unreachable", function()
                local _, err = ends_within(299, 300, function() return db:query { "select 1", timeout_ms = 300 } end)
                assert(err.kind == "connection" and tostring(err):find "[Nn]o route to host", tostring(err))
            end)
            is(2, db:value { "select 2", timeout_ms = 5000 })
            assert(db:close())
        ]]
    end)

    it("of a host that has started anew answers by a reset, which is told at once", function()
        runs [[
            local db = open()
            is(1, db:value "select 1")
            assert(os.execute "ip -n far addr del 10.9.2.1/24 dev far0")
            router "addr add 10.9.2.1/32 dev lo" -- a host of that address, without connections
            local _, err = ends_within(0, 100, function() return db:query { "select 1", timeout_ms = 5000 } end)
            assert(err.kind == "connection", tostring(err))
            router "addr del 10.9.2.1/32 dev lo"
            assert(os.execute "ip -n far addr add 10.9.2.1/24 dev far0 && ip -n far route replace default via 10.9.2.2")
            is(3, db:value { "select 3", timeout_ms = 5000 })
            assert(db:close())
        ]]
    end)
end)
