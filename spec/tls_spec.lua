--- What certificates are refused at open, whom a pool talks to, and what it never says in the clear. Which servers are
-- accepted under which mode is in tls_matrix_spec.lua.
-- Only Lua 5.4: what is tested is the core's and libpq's.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local pki = require "spec.support.pki"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tls = require "spec.support.tls"

local closing = portable.closing
local folder

local function file(name) return folder .. "/" .. name end

local function url(options)
    local o = { host = "localhost", hostaddr = "127.0.0.1" }
    for name, value in pairs(options or {}) do o[name] = value end
    return server.url(o)
end

local function options_of(values, where, sink)
    return { url = where or url(), tls = values, pool = { min = 0, max = 1 },
        log = { queries = false, sink = sink or function() end } }
end

local function open(values, where)
    return closing(assert(tidepool.open(options_of(values, where))))
end

local function assert_connects(values, where)
    local db = open(values, where)
    local encrypted, err = db:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    assert.is_true(encrypted, tostring(err))
    return db
end

local function assert_refused(says, values, where)
    local db = open(values, where)
    local value, err = db:value "select 1"
    assert.is_nil(value)
    assert.equal("tls", err.kind, tostring(err))
    assert.truthy(err.message:find(says, 1, true), err.message)
    assert.is_nil(tostring(err):find(server.password, 1, true))
    return err
end

setup(function()
    folder = assert(pki.make())
    tls.serve(folder, "good")
end)
teardown(function()
    tls.disable()
    pki.remove(folder)
end)

describe("open refuses", function()
    local function pair(name) return { cert = file(name .. ".crt"), key = file(name .. ".key") } end
    local function with(values, more)
        for name, value in pairs(more) do values[name] = value end
        return values
    end

    local function assert_error(says, values)
        local db, err = tidepool.open(options_of(values))
        assert.is_nil(db)
        for _, part in ipairs(says) do
            assert.truthy(err.message:find(part, 1, true), err.message)
        end
        assert.is_nil(err.message:find(folder, 1, true))
        return err
    end

    it("a client certificate that has expired, and says when", function()
        assert_error({ "tls.cert", "CN=tidepool", "expired on 2021-01-01", "renew it" }, pair "client_expired")
    end)

    it("a key that is another certificate's", function()
        assert_error({ "the key of tls.key does not match the certificate of tls.cert" },
            { cert = file "client.crt", key = file "good.key" })
    end)

    it("a certificate that is for servers", function()
        assert_error({ "tls.cert is not for clients" }, pair "server_only")
    end)

    it("certificates to trust that have no root, and says which is missing", function()
        assert_error({ "tls.ca has no root", '"CN=Middle"', '"CN=Test authority"', "must be added" },
            { ca = file "middle.crt" })
    end)

    it("a chain to an authority of the same name that is another", function()
        assert(select(2, server.sh(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
            .. "-subj '/CN=Test authority' -keyout twin.key -out twin.crt"):format(folder))) == 0)
        assert_error({ "tls.cert", "tls.ca" }, with(pair "client", { ca = file "twin.crt" }))
    end)

    it("a list of revoked certificates that is out of date, another authority's, or none", function()
        local ca = file "ca.crt"
        assert_error({ "tls.crl ended on 2021-01-01", "fetch the next" }, { ca = ca, crl = file "expired.crl" })
        assert_error({ "tls.crl is not from any authority of tls.ca" }, { ca = ca, crl = file "other.crl" })
        assert_error({ "tls.crl has no list of revoked" }, { ca = ca, crl = file "ca.crt" })
        assert_error({ "tls.crl says nothing while the server is not verified" },
            { mode = "require", crl = file "ca.crl" })
    end)

    it("a certificate without its key", function()
        assert_error({ "tls.cert is set without tls.key" }, { cert = file "client.crt" })
    end)

    it("TLS 1.1, and a channel to bind to where there is none", function()
        assert_error({ "tls.min_version must be TLSv1.2 or TLSv1.3" }, { min_version = "TLSv1.1" })
        assert_error({ "tls.channel_binding (require) needs TLS" }, { mode = "prefer", channel_binding = "require" })
    end)

    it("the same in a URL", function()
        local function message(parameters)
            return select(2, tidepool.open(url(parameters))).message
        end
        assert.truthy(message { sslmode = "verify-full", sslrootcert = file "middle.crt" }
            :find("sslrootcert in the URL has no root", 1, true))
        assert.truthy(message { sslmode = "verify-full", sslrootcert = file "ca.crt", sslcrl = file "other.crl" }
            :find("sslcrl in the URL is not from any authority of sslrootcert in the URL", 1, true))
        assert.truthy(message { sslmode = "require", sslcert = file "client_expired.crt",
            sslkey = file "client_expired.key" }:find("sslcert in the URL", 1, true))
    end)

    it("no client certificate of another authority, but warns", function()
        local lines = {}
        local values = with(pair "client_other", { ca = file "ca.crt" })
        closing(assert(tidepool.open(options_of(values, nil, function(_, line) lines[#lines + 1] = line end))))
        assert.equal(1, #lines)
        assert.truthy(lines[1]:find("tls.cert was issued by none of tls.ca", 1, true))
    end)
end)

describe("a client certificate", function()
    setup(function()
        tls.trust_clients(file "ca.crt")
        tls.rules "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full"
    end)
    teardown(function()
        tls.rules(nil)
        tls.serve(folder, "good")
    end)

    it("lets in whom the server knows, in each form", function()
        for _, of in ipairs { function(path) return path end, pki.read,
            function(path) return pki.base64(pki.read(path)) end } do
            local db = assert_connects { ca = file "ca.crt", cert = of(file "client.crt"), key = of(file "client.key") }
            assert.equal("CN=tidepool", db:tls().cert.subject)
        end
    end)

    it("that the server does not trust is refused", function()
        local db = open { ca = file "ca.crt", cert = file "client_other.crt", key = file "client_other.key" }
        local value, err = db:value "select 1"
        assert.is_nil(value)
        assert.equal("tls", err.kind, tostring(err))
    end)

    it("that is missing is missed", function()
        local db = open { ca = file "ca.crt" }
        local value, err = db:value "select 1"
        assert.is_nil(value)
        assert.equal("28000", err.code, tostring(err))
        assert.truthy(err.message:find "certificate")
    end)
end)

-- A program that takes one connection, answers its first message with ARG[1], and then prints in hexadecimal all that
-- it was sent.
local RECORDER = [[
    local uv = require "luv"
    local listener, got = uv.new_tcp(), {}
    listener:bind("127.0.0.1", 0)
    listener:listen(1, function()
        local client = uv.new_tcp()
        listener:accept(client)
        local limit = uv.new_timer()
        local function finish()
            uv.stop()
        end
        limit:start(3000, 0, finish)
        client:read_start(function(_, data)
            if not data then return finish() end
            got[#got + 1] = data
            if #got == 1 and arg[1] ~= "" then
                client:write((arg[1]:gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end)))
            elseif #got == 2 then
                finish()
            end
        end)
    end)
    print(listener:getsockname().port)
    io.stdout:flush()
    uv.run()
    print((table.concat(got):gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
]]

-- What the pool sends to a server that answers so.
local function sent_to(answer, values, more)
    local program = child.start(RECORDER, nil, { (answer:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) })
    local port = program.lines()()
    local where = { port = port, password = "topsecret", connect_timeout = "2" }
    for name, value in pairs(more or {}) do where[name] = value end
    local db = open(values, url(where))
    local _, err = db:value { "select 1", timeout_ms = 500 }
    db:close()
    local sent = program.finish():gsub("%s", ""):gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end)
    return sent, err
end

describe("a server without TLS", function()
    local SSL_REQUEST = "\0\0\0\8\4\210\22\47"
    local CLEARTEXT_PASSWORD = "R\0\0\0\8\0\0\0\3"
    local hostile = {
        ["says no"] = "N",
        ["says no and asks for the password"] = "N" .. CLEARTEXT_PASSWORD,
        ["asks for the password at once"] = CLEARTEXT_PASSWORD,
        ["says yes and asks for the password in the clear"] = "S" .. CLEARTEXT_PASSWORD,
        ["fails"] = "E\0\0\0\8oops",
    }
    for how, answer in pairs(hostile) do
        for _, mode in ipairs(answer == "N" and { "require", "verify-ca", "verify-full" } or { "require" }) do
            it("is told nothing under " .. mode .. " when it " .. how, function()
                local sent, err = sent_to(answer, { mode = mode, ca = file "ca.crt" })
                assert.equal(SSL_REQUEST, sent:sub(1, 8))
                assert.truthy(#sent == 8 or sent:find "^........\22\3", "more than the beginning of a handshake")
                assert.is_nil(sent:find("topsecret", 1, true) or sent:find("user\0", 1, true))
                assert.is_nil(tostring(err):find("topsecret", 1, true))
            end)
        end
    end

    it("is refused, with what to do, when it is PostgreSQL", function()
        server.psql "alter system set ssl = off"
        server.psql "select pg_reload_conf()"
        local plain = open({ mode = "prefer" }, url())
        assert.is_true(server.wait(function()
            local db = open({ mode = "prefer" }, url())
            local encrypted = db:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            db:close()
            return encrypted == false
        end))
        plain:close()
        for _, mode in ipairs { "require", "verify-ca", "verify-full" } do
            local err = assert_refused("server does not support SSL", { mode = mode, ca = file "ca.crt" })
            assert.truthy(err.hint:find("Switch TLS on at the server", 1, true))
        end
        tls.serve(folder, "good")
    end)
end)

describe("tls.channel_binding", function()
    teardown(function() tls.rules(nil) end)

    it("binds a password to the connection", function()
        tls.rules(nil)
        assert_connects { ca = file "ca.crt", channel_binding = "require" }
        assert_connects({ ca = file "ca.crt" }, url { channel_binding = "require" })
    end)

    it("refuses a server that wants it in another way", function()
        for _, method in ipairs { "password", "trust" } do
            tls.rules("hostssl all all 127.0.0.1/32 " .. method)
            assert_refused("channel binding", { ca = file "ca.crt", channel_binding = "require" })
            assert_connects { ca = file "ca.crt" }
        end
    end)
end)

describe("tls.min_version", function()
    teardown(function() tls.serve(folder, "good") end)

    it("refuses older servers", function()
        tls.serve(folder, "good", { ssl_max_protocol_version = "TLSv1.2" })
        assert.equal("TLSv1.2", assert_connects({ ca = file "ca.crt" }):tls().version)
        assert_refused("SSL error", { ca = file "ca.crt", min_version = "TLSv1.3" })
        assert_refused("SSL error", { ca = file "ca.crt" }, url { ssl_min_protocol_version = "TLSv1.3" })
        tls.serve(folder, "good")
        assert.equal("TLSv1.3", assert_connects({ ca = file "ca.crt", min_version = "TLSv1.3" }):tls().version)
    end)
end)

describe("tls.server_name", function()
    local by_address = server.url { tcp = true }

    it("is verified in the place of the host, however that is given", function()
        assert_refused('does not match host name "127.0.0.1"', { ca = file "ca.crt" }, by_address)
        for _, where in ipairs { by_address, url(), server.url { host = "localhost" },
            server.url { host = "127.0.0.1,127.0.0.1" } } do
            assert_connects({ ca = file "ca.crt", server_name = "db.example" }, where)
        end
        local err = assert_refused('does not match host name "elsewhere.example"',
            { ca = file "ca.crt", server_name = "elsewhere.example" })
        assert.truthy(err.hint:find("tls.server_name", 1, true))
    end)

    it("alone asks for a verified server", function()
        assert.equal("verify-full", open { server_name = "db.example" }:tls().mode)
    end)

    it("is what the server is asked for (SNI), and else the host is", function()
        assert.truthy(sent_to("S", { ca = file "ca.crt", server_name = "db.example" }):find("db.example", 1, true))
        local sent = sent_to("S", { ca = file "ca.crt" })
        assert.truthy(sent:find("localhost", 1, true))
        assert.is_nil(sent_to("S", { ca = file "ca.crt" }, { sslsni = "0" }):find("localhost", 1, true))
    end)
end)

describe("files of ~/.postgresql", function()
    local PROGRAM = [[
        local db = require("tidepool").open { url = arg[1], log = { queries = false } }
        print(db:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    ]]

    it("have no say", function()
        local home = file "home"
        assert(select(2, server.sh(("mkdir -p %s/.postgresql && cd %s/.postgresql && cp %s root.crt && cp %s root.crl "
            .. "&& cp %s postgresql.crt && cp %s postgresql.key && chmod 600 *"):format(home, home, file "other.crt",
            file "other.crl", file "client_expired.crt", file "good.key"))) == 0)
        local where = url { sslmode = "require" }
        local said = server.sh(("HOME=%s %s/psql -qXAt '%s' -c 'select 1'"):format(home, server.bindir, where))
        assert.truthy(said:find("postgresql.key", 1, true), "psql does not use them: " .. said)
        local output = child.run(PROGRAM, { HOME = home }, { where })
        assert.equal("true\n", output)
    end)
end)
