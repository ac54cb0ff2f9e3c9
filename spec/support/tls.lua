--- TLS on the throwaway server: a certificate of its own, and the setting that makes it offer TLS.
local server = require "spec.support.server"

local M = {}
local changed = {} -- settings beside `ssl` itself

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- The server takes a key only when nobody else can read it.
local function make_certificate()
    local key, certificate = quote(server.pgdata .. "/server.key"), quote(server.pgdata .. "/server.crt")
    local output, code = server.sh(("openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost "
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

local function reset()
    for setting in pairs(changed) do
        server.psql("alter system reset " .. setting)
        changed[setting] = nil
    end
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
    reset()
    set "reset ssl"
end

-- Puts a file into the server's folder, as its own.
local function give(path, name)
    local target = quote(server.pgdata .. "/" .. name)
    local output, code = server.sh(("cp %s %s && chmod 600 %s && chown --reference=%s %s")
        :format(quote(path), target, target, quote(server.pgdata), target))
    assert(code == 0, output)
end

local function fingerprint(source)
    return (server.sh(source .. " | openssl x509 -noout -fingerprint -sha256 2>/dev/null"))
end

-- What the server shows; `how` are options of s_client.
local function shown(how)
    return fingerprint(("openssl s_client -starttls postgres -connect 127.0.0.1:%d %s </dev/null 2>/dev/null")
        :format(server.port, how or ""))
end

--- Lets the server show a certificate of a folder (folder/name.crt and .key) from now on. `settings` are more of the
--- server's; `how`, options of s_client without which it cannot be seen.
function M.serve(folder, name, settings, how)
    give(folder .. "/" .. name .. ".crt", "server.crt")
    give(folder .. "/" .. name .. ".key", "server.key")
    reset()
    for setting, value in pairs(settings or {}) do
        server.psql(("alter system set %s = '%s'"):format(setting, value))
        changed[setting] = true
    end
    set "set ssl = on"
    local wanted = fingerprint("cat " .. quote(folder .. "/" .. name .. ".crt"))
    assert(#wanted > 64, wanted)
    assert(server.wait(function() return shown(how) == wanted end), "the server does not show " .. name)
end

--- Lets the server trust clients whose certificates come from a file, in addition to what `serve` has set.
function M.trust_clients(path)
    give(path, "clients.crt")
    changed.ssl_ca_file = true
    set "set ssl_ca_file = 'clients.crt'"
end

--- The rules in pg_hba.conf that come before the others (nil: none).
function M.rules(text)
    local path = quote(server.pgdata .. "/pg_hba.conf")
    local _, code = server.sh(("sed -i '/# spec$/d' %s"):format(path))
    assert(code == 0)
    if text then
        local lines = text:gsub("%s*\n", " # spec\n")
        assert(select(2, server.sh(("printf %%s %s | cat - %s >%s.new && cat %s.new >%s && rm %s.new")
            :format(quote(lines .. " # spec\n"), path, path, path, path, path))) == 0)
    end
    server.psql "select pg_reload_conf()"
    local function in_force()
        return server.psql "select pg_conf_load_time() >= (pg_stat_file('pg_hba.conf')).modification" == "t"
    end
    assert(server.wait(in_force), "pg_hba.conf was not read")
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
