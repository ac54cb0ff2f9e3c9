--- The watch over certificates: what db:tls() shows, warnings before they end, files that rotate, reload_tls.
local tidepool = require "tidepool"
local pki = require "spec.support.pki"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tls = require "spec.support.tls"

local closing = portable.closing
local folder, lines

local function file(name) return folder .. "/" .. name end

local function open(values, pool)
    return closing(assert(tidepool.open {
        url = server.url { host = "localhost", hostaddr = "127.0.0.1" }, tls = values,
        pool = pool or { min = 0, max = 2 },
        log = { queries = false, sink = function(level, message) lines[#lines + 1] = level .. ": " .. message end },
    }))
end

-- A connection is made: the one that there is ends first.
local function reconnect(db)
    local conn = db:acquire()
    if conn then conn:discard() end
    conn = db:acquire()
    if conn then conn:discard() end
    return db:value "select 1"
end

local function days_from_now(days)
    return os.date("!%Y-%m-%dT", os.time() + days * 86400)
end

setup(function() folder = assert(pki.make()) end)
teardown(function()
    tls.disable()
    pki.remove(folder)
end)
before_each(function()
    lines = {}
    tls.serve(folder, "good")
end)

describe("db:tls()", function()
    it("shows both sides of the connection that was made last", function()
        local db = open { ca = file "ca.crt", crl = file "ca.crl", cert = file "client.crt", key = file "client.key" }
        local before = db:tls()
        assert.equal("verify-full", before.mode)
        assert.is_nil(before.version or before.cipher or before.bits or before.server)
        assert.equal("CN=tidepool", before.cert.subject)
        assert.equal("CN=Test authority", before.ca.subject)
        local session = db:one "select version, cipher, bits from pg_stat_ssl where pid = pg_backend_pid()"
        local after = db:tls()
        assert.same({ session.version, session.cipher, session.bits }, { after.version, after.cipher, after.bits })
        assert.equal("CN=localhost", after.server.subject)
        assert.equal("CN=Test authority", after.server.issuer)
        assert.equal("CN=Test authority", after.ca.subject)
        local function about(days, found) -- the day is full within the second in which they were made
            assert.is_true(found == days or found == days - 1, tostring(found))
        end
        about(400, after.server.days_left)
        assert.equal(days_from_now(400), after.server.not_after:sub(1, 11))
        assert.equal(days_from_now(-1), after.server.not_before:sub(1, 11))
        about(30, after.crl.days_left)
        assert.equal(days_from_now(30), after.crl.next_update:sub(1, 11))
        assert.same({}, after.warnings)
    end)

    it("has no server where nothing is encrypted", function()
        local db = closing(assert(tidepool.open { url = server.url(), log = { queries = false } }))
        assert.equal(1, db:value "select 1")
        assert.same({ mode = "disable", warnings = {} }, db:tls())
        local ok, err = db:reload_tls()
        assert.is_nil(ok)
        assert.equal("validation", err.kind)
    end)

    it("warns of certificates that end within 14 days; the event and the log tell it once", function()
        tls.serve(folder, "ending")
        local db = open { ca = file "ca.crt", cert = file "client_ending.crt", key = file "client_ending.key" }
        local told = {}
        db:on("tls_expiring", function(event) told[#told + 1] = event.message end)
        for _ = 1, 3 do assert.equal(1, reconnect(db)) end
        local warnings = db:tls().warnings
        assert.equal(2, #warnings)
        assert.same({ "tls_expiring", "server", 10 }, { warnings[1].name, warnings[1].of, warnings[1].days_left })
        assert.same({ "tls_expiring", "cert", 10 }, { warnings[2].name, warnings[2].of, warnings[2].days_left })
        assert.truthy(warnings[1].message:find("the server's certificate (CN=localhost) expires on "
            .. db:tls().server.not_after:sub(1, 10), 1, true))
        assert.same({ warnings[1].message, warnings[2].message }, told)
        assert.same({ "warning: " .. told[1], "warning: " .. told[2] }, lines)
    end)
end)

describe("files that rotate", function()
    local ca

    before_each(function()
        ca = file "rotating.crt"
        pki.write(ca, pki.read(file "ca.crt"))
    end)

    it("are used for new connections, without a restart", function()
        local db = open { ca = ca }
        local told = {}
        db:on("tls_reload", function(event) told[#told + 1] = event.message end)
        local conn = assert(db:acquire())
        tls.serve(folder, "wrong_ca")
        pki.write(ca, pki.read(file "other.crt"))
        assert.equal(1, reconnect(db))
        assert.equal("CN=Other authority", db:tls().ca.subject)
        assert.same({ "certificates have changed: new connections use the new ones" }, told)
        assert.equal(2, conn:value "select 2") -- nobody ended what was there
        conn:release()
        assert.equal(0, db:stats().closed.replaced)
    end)

    it("that are half written or gone leave the old ones in use, and that is told once", function()
        local db = open { ca = ca, crl = file "ca.crl" }
        assert.equal(1, db:value "select 1")
        pki.write(ca, pki.read(ca):sub(1, 200))
        for _ = 1, 3 do assert.equal(1, reconnect(db)) end
        assert.equal(1, #lines)
        assert.truthy(lines[1]:find("the old ones stay in use: tls.ca has no certificate in it", 1, true), lines[1])
        local warnings = db:tls().warnings
        assert.equal("tls_reload", warnings[1].name)
        assert.truthy(warnings[1].message:find("tls.ca has no certificate", 1, true))
        pki.write(ca, pki.read(file "ca.crt"))
        assert.equal(1, reconnect(db))
        assert.same({}, db:tls().warnings)
    end)

    it("cannot make a list of revoked certificates vanish", function()
        local crl = file "vanishing.crl"
        pki.write(crl, pki.read(file "ca.crl"))
        tls.serve(folder, "revoked")
        local db = open { ca = ca, crl = crl }
        os.remove(crl)
        local value, err = db:value "select 1"
        assert.is_nil(value)
        assert.equal("tls", err.kind)
    end)
end)

describe("db:reload_tls", function()
    it("replaces connections: idle ones at once, one in use when it comes back", function()
        local db = open({ ca = file "ca.crt" }, { min = 0, max = 3 })
        local a, b = assert(db:acquire()), assert(db:acquire())
        local pid = a:value "select pg_backend_pid()"
        b:release()
        assert.is_true(db:reload_tls())
        assert.is_true(server.wait(function() return db:stats().closed.replaced == 1 end))
        assert.equal(pid, a:value "select pg_backend_pid()")
        a:release()
        assert.is_true(server.wait(function() return db:stats().closed.replaced == 2 end))
        assert.not_equal(pid, db:value "select pg_backend_pid()")
        assert.equal(0, db:stats().closed.server_gone)
    end)

    it("takes new values, in each form, and mends a pool that could not connect", function()
        tls.serve(folder, "wrong_ca")
        for _, of in ipairs { function(path) return path end, pki.read,
            function(path) return pki.base64(pki.read(path)) end } do
            local db = open { ca = pki.read(file "ca.crt") }
            assert.is_nil((db:value "select 1"))
            assert.is_true(db:reload_tls { ca = of(file "other.crt") })
            assert.equal(1, db:value "select 1")
            assert.equal("CN=Other authority", db:tls().ca.subject)
            assert.is_true(db:reload_tls()) -- the new ones stay
            assert.equal(1, db:value "select 1")
        end
    end)

    it("that fails says why and changes nothing", function()
        local db = open { ca = file "ca.crt", cert = file "client.crt", key = file "client.key" }
        local pid = db:value "select pg_backend_pid()"
        for says, values in pairs {
            ["tls.cert"] = { cert = file "client_expired.crt" },
            ["does not match the certificate"] = { key = file "good.key" },
            ["tls.ca has no root"] = { ca = file "middle.crt" },
            ["neither PEM"] = { ca = "c4nary" },
        } do
            local ok, err = db:reload_tls(values)
            assert.is_nil(ok)
            assert.truthy(err.message:find(says, 1, true), err.message)
            assert.is_nil(err.message:find("c4nary", 1, true))
        end
        assert.equal(pid, db:value "select pg_backend_pid()")
        assert.equal("CN=tidepool", db:tls().cert.subject)
        assert.is_false((pcall(db.reload_tls, db, { certificate = "x" })))
        assert.is_false((pcall(db.reload_tls, db, { ca = {} })))
        db:close()
        assert.equal("pool_closed", select(2, db:reload_tls()).kind)
    end)
end)
