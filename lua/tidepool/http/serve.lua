--- `tidepool serve`: an nginx in the foreground that answers with tidepool.http.
--
--     require("tidepool.http.serve").run { port = 8080, workers = 2 }
--
-- Everything that nginx needs lies in a private folder of its own, which is removed at the end. Addresses, passwords
-- and the token are not in it: nginx's workers get them as variables of the environment.
-- @module tidepool.http.serve
local core = require "tidepool.core"

local M = {}

local URL, TOKEN = "TIDEPOOL_SERVE_URL", "TIDEPOOL_HTTP_TOKEN"

local known = {
    host = "string",    -- the address to listen on (127.0.0.1)
    port = "number",    -- the port (8080)
    workers = "number", -- how many processes of nginx (1)
    url = "string",     -- the database; as the environment says when not said
    token = "string",   -- for maintenance; TIDEPOOL_HTTP_TOKEN when not said
    service = "string", version = "string", prefix = "string", -- of tidepool.http
    nginx = "string",   -- the program; openresty or nginx when not said
}

-- ------------------------------------------------------------------- helpers

local function output_of(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local text = pipe:read "*a"
    pipe:close()
    return text
end

local function quote(word)
    return "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function exists(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

local function absolute(path)
    if path:sub(1, 1) == "/" then
        return path
    end
    return output_of "pwd":gsub("\n$", "") .. "/" .. path
end

local function check(options)
    for name, value in pairs(options) do
        if not known[name] then
            error(("unknown option '%s' of serve (known: host, port, workers, url, token, service, version, prefix, "
                .. "nginx)"):format(tostring(name)), 3)
        elseif type(value) ~= known[name] then
            error(("option '%s' must be a %s"):format(name, known[name]), 3)
        end
    end
    local host = options.host or "127.0.0.1"
    if not host:find "^[%w.:%-*]+$" then
        return nil, "host must be a name or an address, got " .. host
    end
    for name, most in pairs { port = 65535, workers = 1024 } do
        local value = options[name]
        if value and (value % 1 ~= 0 or value < 1 or value > most) then
            return nil, ("%s must be a whole number from 1 to %d"):format(name, most)
        end
    end
    return true
end

-- --------------------------------------------------------------- what is here

-- nginx, and the lines that its configuration needs to have Lua.
local function find_nginx(said)
    local program = said
    for _, name in ipairs { "openresty", "nginx" } do
        program = program
            or output_of("PATH=$PATH:/usr/sbin:/usr/local/openresty/bin command -v " .. name):match "^/%S+"
    end
    local about = program and output_of(quote(program) .. " -V") or ""
    if not about:find "nginx version" then
        return nil, "nginx is not installed (Debian: nginx-light and libnginx-mod-http-lua)"
    end
    local folder = about:match "%-%-modules%-path=(%S+)"
    if folder and exists(folder .. "/ngx_http_lua_module.so") then
        local lines = {}
        for _, name in ipairs { "ndk_http_module", "ngx_http_lua_module" } do
            lines[#lines + 1] = ("load_module %s/%s.so;"):format(folder, name)
        end
        return program, table.concat(lines, "\n")
    elseif about:find "%-%-add%-module=%S*lua" then
        return program, ""
    end
    return nil, program .. " has no Lua module (Debian: libnginx-mod-http-lua)"
end

-- Where nginx's own Lua, which is LuaJIT, finds this module.
local function find_lua()
    local folder = absolute(debug.getinfo(1, "S").source:match "^@(.*)tidepool/http/serve%.lua$")
    local templates = { folder .. "../build/luajit/lua/?.so" }
    for template in package.cpath:gmatch "[^;]+" do
        local for_5_1, versions = template:gsub("5%.[1-5]", "5.1")
        -- What is at a place without a version is for the Lua that runs this.
        if versions > 0 or rawget(_G, "jit") then
            templates[#templates + 1] = absolute(for_5_1)
        end
    end
    for _, template in ipairs(templates) do
        if exists((template:gsub("%?", "tidepool/core"))) then
            return ("%s?.lua;%s?/init.lua"):format(folder, folder), template
        end
    end
    return nil, "nginx runs LuaJIT, and tidepool is not installed for it (make LUA_VERSION=jit, and install it)"
end

-- ------------------------------------------------------------- configuration

local TEXT = [[
@MODULES@
@USER@
daemon off;
worker_processes @WORKERS@;
pid nginx.pid;
error_log stderr warn;
@ENVIRONMENT@
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    lua_package_path "@PATH@;;";
    lua_package_cpath "@CPATH@;;";
    init_by_lua_block { require "tidepool.http.serve" }
    server_tokens off;
@GUARD@
    server {
        listen @ADDRESS@;
        server_name @NAMES@;
        location / {
            content_by_lua_block { require("tidepool.http.serve").answer { @OPTIONS@ } }
        }
    }
}
]]

-- Who listens on the loopback only takes no request for another name: a page in a browser could send one, and read the
-- answer, by giving its own name this address.
local GUARD = [[
    server {
        listen @ADDRESS@ default_server;
        return 421 "this service has another name\n";
    }]]

local LOOPBACK = "127.0.0.1 localhost [::1]"

-- The names of who listens there, or nil.
local function loopback_names(host)
    if host == "127.0.0.1" or host == "::1" or host:lower() == "localhost" then
        return LOOPBACK
    end
    return host:find "^127%.[%d.]+$" and LOOPBACK .. " " .. host or nil
end

-- What may say where the database is, and what libpq reads besides.
local variables = [[DATABASE_URL DB_CONNECTION_STRING HOME PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD
    PGPASSFILE PGSERVICE PGSERVICEFILE PGSYSCONFDIR PGOPTIONS PGAPPNAME PGSSLMODE PGSSLCERT PGSSLKEY PGSSLROOTCERT
    PGSSLCRL PGSSLCRLDIR PGSSLSNI PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION PGCHANNELBINDING PGREQUIREPEER
    PGGSSENCMODE PGKRBSRVNAME PGGSSLIB PGCONNECT_TIMEOUT PGTARGETSESSIONATTRS PGTZ ]] .. URL .. " " .. TOKEN

local function environment()
    local lines, seen = {}, {}
    local function add(name)
        if not seen[name] then
            seen[name] = true
            lines[#lines + 1] = "env " .. name .. ";"
        end
    end
    for name in variables:gmatch "%S+" do
        add(name)
    end
    for _, option in ipairs(core.options()) do
        for name in option.environment:gmatch "[%w_]+" do
            add(name)
        end
    end
    return table.concat(lines, "\n")
end

-- Lua code that has the options of tidepool.http.
local function lua_options(options)
    local fields = {}
    for _, name in ipairs { "service", "version", "prefix" } do
        if options[name] then
            fields[#fields + 1] = ("%s = %q"):format(name, options[name])
        end
    end
    return table.concat(fields, ", ")
end

local function fill(text, parts)
    return (text:gsub("@(%u+)@", parts))
end

--- The text of nginx's configuration.
-- @param options of run
-- @param found {modules =, path =, cpath =, user = a line or ""}
function M.configuration(options, found)
    local host, port = options.host or "127.0.0.1", options.port or 8080
    local parts = {
        MODULES = found.modules, USER = found.user, PATH = found.path, CPATH = found.cpath,
        WORKERS = ("%d"):format(options.workers or 1), ENVIRONMENT = environment(),
        ADDRESS = ("%s:%d"):format(host:find(":", 1, true) and "[" .. host .. "]" or host, port),
        NAMES = loopback_names(host) or "_", OPTIONS = lua_options(options),
    }
    parts.GUARD = loopback_names(host) and fill(GUARD, parts) or ""
    return fill(TEXT, parts)
end

-- ------------------------------------------------------------------- running

-- Starts nginx, passes signals on to it, also one that came before, and removes the folder behind it.
local SCRIPT = [[
folder=$1; nginx=; came=
trap 'rm -rf "$folder"' EXIT
for signal in TERM INT QUIT HUP; do
    trap 'came='$signal'; test -z "$nginx" || kill -'$signal' "$nginx" 2>/dev/null' "$signal"
done
"$2" -p "$folder/" -c nginx.conf -e stderr &
nginx=$!
test -z "$came" || kill -"$came" "$nginx" 2>/dev/null
while :; do
    wait "$nginx"; code=$?
    kill -0 "$nginx" 2>/dev/null || exit "$code"
done
]]

-- What is wrong with the configuration is said at once, and not by each answer.
local function check_database(url)
    local db, err = require "tidepool".open { url = url, log = { queries = false, sink = function() end } }
    if not db then
        return nil, tostring(err)
    end
    db:close()
    return true
end

local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

--- Runs nginx in the place of this process, until a signal ends it.
-- @param options see the table at the top of this file; all of them may be left out
-- @return nil and why it cannot be done; else it does not return
function M.run(options)
    options = options or {}
    local fine, why = check(options)
    if fine then
        fine, why = check_database(options.url)
    end
    if not fine then
        return nil, why
    end
    local program, modules = find_nginx(options.nginx)
    if not program then
        return nil, modules
    end
    local path, cpath = find_lua()
    if not path then
        return nil, cpath
    end
    -- The workers of an nginx that root has started would be nobody, who may not read the folder.
    local user = output_of "id -u" == "0\n" and "user root root;" or ""
    local folder = output_of 'mktemp -d "${TMPDIR:-/tmp}/tidepool-serve-XXXXXX"':match "^(/[^\n]+)\n$"
    if not folder then
        return nil, "there is no temporary folder to be had"
    end
    write(folder .. "/nginx.conf", M.configuration(options,
        { modules = modules, user = user, path = path, cpath = cpath }))
    local _, problem = core.exec({ "/bin/sh", "-c", SCRIPT, "tidepool-serve", folder, program }, {
        [URL] = options.url or "", [TOKEN] = options.token or os.getenv(TOKEN) or "",
    })
    output_of("rm -rf " .. quote(folder))
    return nil, "the shell cannot be run: " .. problem
end

-- ---------------------------------------------------------- within the workers

local db

local function variable(name)
    local value = os.getenv(name)
    return value ~= "" and value or nil
end

--- Answers the request that nginx runs this code for.
-- @param options of tidepool.http
function M.answer(options)
    if not db then
        local err
        db, err = require "tidepool".open { url = variable(URL), log = { queries = false } }
        if not db then
            error(tostring(err)) -- nginx logs it and answers 500
        end
        -- Nobody else uses this pool, and it connects when it is used: else all it could tell is that nobody has tried.
        ngx.timer.at(0, function() db:ping() end)
    end
    options.token = variable(TOKEN)
    return require "tidepool.http".nginx(db, options)
end

return M
