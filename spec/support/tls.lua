--- TLS on the throwaway server: a certificate of its own, and the setting that makes it offer TLS.
local server = require "spec.support.server"

local M = {}

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- The server takes a key only when nobody else can read it.
local function make_certificate()
    local key, certificate = quote(server.pgdata .. "/server.key"), quote(server.pgdata .. "/server.crt")
    local output, code = server.sh(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        .. "-keyout %s -out %s && chmod 600 %s && chown --reference=%s %s %s")
        :format(key, certificate, key, quote(server.pgdata), key, certificate))
    return code == 0, output
end

local function answers()
    local where = ("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=require")
        :format(server.port, server.user, server.database)
    local _, code = server.sh(("PGPASSWORD=%s %s/psql -qXAt %s -c ''")
        :format(quote(server.password), server.bindir, quote(where)))
    return code == 0
end

local function set(how)
    server.psql("alter system " .. how)
    server.psql "select pg_reload_conf()"
end

--- Makes the server offer TLS over TCP. Returns true, or false and the reason why it cannot be had here.
function M.enable()
    if select(2, server.sh "command -v openssl") ~= 0 then
        return false, "there is no openssl to make a certificate with"
    end
    local ok, output = make_certificate()
    if not ok then
        return false, output
    end
    set "set ssl = on"
    return server.wait(answers) == true, "the server does not offer TLS"
end

--- The server is again as the others expect it.
function M.disable()
    set "reset ssl"
end

--- A connection URL over TCP that insists on TLS.
function M.url(options)
    local o = { tcp = true, sslmode = "require" }
    for name, value in pairs(options or {}) do
        o[name] = value
    end
    return server.url(o)
end

return M
