--- Which servers are accepted: every certificate under every mode, given in every form.
-- Only Lua 5.4: what is tested is the core's and libpq's.
local tidepool = require "tidepool"
local pki = require "spec.support.pki"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tls = require "spec.support.tls"

local closing = portable.closing
local old_tls = { ssl_min_protocol_version = "TLSv1.1", ssl_max_protocol_version = "TLSv1.1",
    ssl_ciphers = "ALL:@SECLEVEL=0" }

-- In which modes a server with this certificate is accepted. With tls.ca, `require` verifies as `verify-ca` does;
-- without (`bare`) it only encrypts.
local servers = {
    { "good",        bare = true,  require = true,  ca = true,  full = true,  crl = true },
    { "wrong_host",  bare = true,  require = true,  ca = true,  full = false, crl = false },
    { "expired",     bare = true,  require = false, ca = false, full = false, crl = false },
    { "early",       bare = true,  require = false, ca = false, full = false, crl = false },
    { "revoked",     bare = true,  require = true,  ca = true,  full = true,  crl = false },
    { "wrong_ca",    bare = true,  require = false, ca = false, full = false, crl = false },
    { "self_signed", bare = true,  require = false, ca = false, full = false, crl = false },
    { "old TLS",     bare = false, require = false, ca = false, full = false, crl = false,
        certificate = "good", settings = old_tls, how = "-tls1_1 -cipher ALL:@SECLEVEL=0" },
}
local columns = {
    { name = "require", mode = "require" },
    { name = "ca", mode = "verify-ca" },
    { name = "full", mode = "verify-full" },
    { name = "crl", mode = "verify-full", crl = true },
}
local forms = {
    file = function(path) return path end,
    pem = pki.read,
    base64 = function(path) return pki.base64(pki.read(path)) end,
}

describe("the matrix of TLS", function()
    local folder, cells = nil, 0
    setup(function() folder = assert(pki.make()) end)
    teardown(function()
        tls.disable()
        pki.remove(folder)
    end)

    -- One attempt to connect.
    local function assert_cell(what, options, accepted)
        local db = closing(assert(tidepool.open {
            url = server.url { host = "localhost", hostaddr = "127.0.0.1" }, tls = options,
            pool = { min = 0, max = 1 }, log = { queries = false, sink = function() end },
        }))
        local value, err = db:value("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        cells = cells + 1
        if accepted then
            assert.is_true(value, ("%s: %s"):format(what, tostring(err)))
            assert.equal(options.mode, db:tls().mode)
            assert.truthy(db:tls().version:find "^TLSv1%.[23]$")
            return
        end
        assert.is_nil(value, what .. " was accepted")
        assert.equal("tls", err.kind, what .. ": " .. tostring(err))
        assert.is_false(err.retryable)
        assert.is_nil(tostring(err):find(server.password, 1, true))
        assert.equal(0, db:stats().created)
        db:close()
    end

    for _, row in ipairs(servers) do
        it("is as it should be for: " .. row[1], function()
            tls.serve(folder, row.certificate or row[1], row.settings, row.how)
            assert_cell(row[1] .. " without tls.ca", { mode = "require" }, row.bare)
            for _, column in ipairs(columns) do
                for form, of in pairs(forms) do
                    assert_cell(("%s, %s, %s"):format(row[1], column.name, form), {
                        mode = column.mode, ca = of(folder .. "/ca.crt"),
                        crl = column.crl and of(folder .. "/ca.crl") or nil,
                    }, row[column.name])
                end
            end
        end)
    end

    it("has 96 cells, and 8 without tls.ca", function()
        assert.equal(96 + 8, cells)
    end)
end)
