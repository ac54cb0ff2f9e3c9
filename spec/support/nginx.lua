--- An nginx with the Lua module for specs, in a folder of its own and on a unix socket, seen from the outside.
--
--     local site = nginx.start { server = [[ location /x { content_by_lua_block { ngx.print "hello" } } ]] }
--     local body, status = site:get "/x"
--     site:stop()
--
-- Its workers see tidepool as built for LuaJIT, `url` in the variable DATABASE_URL, and the modules of `files`.
local server = require "spec.support.server"

local M = {}

local root = debug.getinfo(1, "S").source:match "^@(.*)spec/support/nginx%.lua$"
local modules = "/usr/lib/nginx/modules/"

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

local function sh(command, ...)
    local output, code = server.sh(command:format(...))
    return output:gsub("\n$", ""), code
end

local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

local function read(path, bytes)
    local file = io.open(path)
    if not file then
        return ""
    end
    local text = file:read(bytes or "a")
    file:close()
    return text or ""
end

M.program = sh "PATH=$PATH:/usr/sbin command -v nginx"

--- Why no nginx can be started here, or nil. What it loads is built for LuaJIT and as users have it, so that the specs
--- say the same whatever they run on.
function M.absent()
    if (os.getenv "LUA_VERSION" or "5.4") ~= "5.4" or (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") ~= "default" then
        return "is tested with the others of Lua 5.4"
    elseif M.program == "" then
        return "nginx is not installed"
    end
    for _, name in ipairs { "ndk_http_module.so", "ngx_http_lua_module.so" } do
        if read(modules .. name) == "" then
            return "nginx's Lua module is not installed"
        end
    end
end

local built

--- Builds the module for LuaJIT, the first time that it is called. Returns the folder of the sources.
function M.build()
    if built then
        return built
    end
    local folder = sh("cd %s && pwd", quote(root == "" and "." or root))
    local output, code = sh("cd %s && env -u MAKEFLAGS -u MAKELEVEL -u LUA -u VARIANT make -s -j2 LUA_VERSION=jit all",
        quote(folder))
    if code ~= 0 then
        error("tidepool cannot be built for LuaJIT:\n" .. output, 0)
    end
    built = folder
    return folder
end

local configuration = [[
%s
load_module %sndk_http_module.so;
load_module %sngx_http_lua_module.so;
daemon off;
pid nginx.pid;
error_log error.log %s;
env DATABASE_URL;
%s
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    lua_package_path "%s/?.lua;%s/lua/?.lua;%s/lua/?/init.lua;;";
    lua_package_cpath "%s/build/luajit/lua/?.so;;";
    %s
    server {
        listen unix:%s/http;
        %s
        location = /is-there { return 200 "yes"; }
        %s
    }
}
]]

local Site = {}
Site.__index = Site

local function configure(site, options)
    -- The workers of an nginx that root has started are nobody's, unless it says otherwise.
    local user = sh "id -u" == "0" and "user " .. (options.user or "root root") .. ";" or ""
    local folder = site.folder
    for name, text in pairs(options.files or {}) do
        write(folder .. "/" .. name, text)
    end
    write(folder .. "/nginx.conf", configuration:format(user, modules, modules, options.log or "notice",
        options.main or "worker_processes 1;", folder, built, built, built, options.http or "", folder,
        options.listen and "listen " .. options.listen .. ";" or "", options.server or ""))
end

--- Starts nginx. `options`: `server`, `http` and `main` are text for these blocks of nginx.conf, `main` with the number
--- of workers (one); `listen` a further address; `files` modules by file name; `url` the database (the throwaway
--- server's); `user` whom the workers run as where root starts them; `log` the level.
function M.start(options)
    M.build()
    local site = setmetatable({ folder = sh 'mktemp -d "${TIDEPOOL_TEST_TMP:-/tmp}/nginx-XXXXXX"' }, Site)
    configure(site, options)
    sh("chmod 755 %s", site.folder)
    sh("cd %s; env -i PATH=/usr/bin:/bin DATABASE_URL=%s %s -p %s/ -c nginx.conf -e error.log </dev/null "
        .. ">output 2>&1 & echo $! >started", site.folder, quote(options.url or server.url()), M.program, site.folder)
    if not server.wait(function() return site:get "/is-there" == "yes" or site:has_ended() end) or site:has_ended() then
        local log = read(site.folder .. "/output") .. site:log()
        site:stop()
        error("nginx does not start:\n" .. log, 2)
    end
    return site
end

--- One request, with curl. `options`: `method`, `body`, `headers` (a list of lines), `timeout_ms` (10000),
--- `show_headers` (before the body). Returns the body and the status; when there was no answer, nil and curl's exit
--- code (28: the time was over).
function Site:get(path, options)
    options = options or {}
    local words = {
        options.method == "HEAD" and "-I" or options.method and "-X " .. options.method or "",
        options.body and "-d " .. quote(options.body) or "", options.show_headers and "-i" or "",
    }
    for _, line in ipairs(options.headers or {}) do
        words[#words + 1] = "-H " .. quote(line)
    end
    local output, code = sh("curl -s -m %g --unix-socket %s/http %s -w '\\n%%{http_code}' %s",
        (options.timeout_ms or 10000) / 1000, self.folder, table.concat(words, " "), quote("http://nginx" .. path))
    local body, status = output:match "^(.*)\n(%d+)$"
    if code ~= 0 then
        return nil, code
    end
    return body, tonumber(status)
end

--- As many requests at once. Returns the list of their answers, body and status in one line each, in any order.
function Site:get_many(path, count, at_once)
    local one = ("echo \"$(curl -s -m 20 --unix-socket %s/http -w ' %%{http_code}' %s)\"")
        :format(self.folder, quote("http://nginx" .. path))
    local output = sh("seq %d | xargs -P %d -I {} sh -c %s", count, at_once or count, quote(one))
    local answers = {}
    for line in output:gmatch "[^\n]+" do
        answers[#answers + 1] = line
    end
    return answers
end

--- Begins a request and returns a function that waits for its end and returns its body and status.
function Site:begin(path)
    local pipe = assert(io.popen(("exec curl -s -m 20 --unix-socket %s/http -w '\\n%%{http_code}' %s")
        :format(self.folder, quote("http://nginx" .. path))))
    return function()
        local output = pipe:read "a"
        pipe:close()
        local body, status = output:match "^(.*)\n(%d+)$"
        return body, tonumber(status)
    end
end

--- What nginx has logged so far.
function Site:log()
    return read(self.folder .. "/error.log")
end

function Site:pid()
    return tonumber(read(self.folder .. "/started"))
end

function Site:has_ended()
    local pid = self:pid()
    return not pid or read(("/proc/%d/stat"):format(pid)):match "%) (%u)" == nil
        or read(("/proc/%d/stat"):format(pid)):match "%) (%u)" == "Z"
end

--- The process ids of the workers, those that are about to end too.
function Site:workers()
    local pids = {}
    for pid in sh("pgrep -P %d", self:pid()):gmatch "%d+" do
        pids[#pids + 1] = tonumber(pid)
    end
    return pids
end

local function is_running(pid)
    local state = read(("/proc/%d/stat"):format(pid)):match "%) (%u)"
    return state ~= nil and state ~= "Z"
end

--- Sends a signal to the master, or to the process that is named.
function Site:signal(name, pid)
    sh("kill -%s %d", name, pid or self:pid())
end

--- Starts new workers and lets the old ones end. Returns their process ids.
function Site:reload()
    local before = self:workers()
    self:signal "HUP"
    return before
end

--- Waits until these processes have ended: whether they have, within the milliseconds (10000).
function Site.wait_end(_, pids, ms)
    return server.wait(function()
        for _, pid in ipairs(pids) do
            if is_running(pid) then
                return false
            end
        end
        return true
    end, ms or 10000) == true
end

-- The statistics that workers leave to their successors: the file has the master's process id behind its first words.
local function remove_stats(pid)
    for path in sh "ls -d /dev/shm/tidepool-*+stats 2>/dev/null":gmatch "[^\n]+" do
        local a, b, c, d = read(path, 16):byte(13, 16)
        if d and a + b * 2^8 + c * 2^16 + d * 2^24 == pid then
            os.remove(path)
        end
    end
end

--- Ends nginx when it runs still (in an orderly way, else after 10 s by force) and removes its folder and, unless
--- options.keep_stats says otherwise, what its workers have left for their successors.
function Site:stop(options)
    if not self:has_ended() then
        self:signal "TERM"
        if not server.wait(function() return self:has_ended() end, 10000) then
            for _, pid in ipairs(self:workers()) do
                self:signal("KILL", pid)
            end
            self:signal "KILL"
        end
    end
    if not (options and options.keep_stats) and self:pid() then
        remove_stats(self:pid())
    end
    sh("rm -rf %s", self.folder)
end

return M
