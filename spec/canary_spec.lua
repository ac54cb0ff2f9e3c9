--- A secret that is given to tidepool comes out nowhere: after failures of every kind everything that can be read
--- (errors, events, statistics, the state, options, texts of objects, log lines, standard error) is searched for it.
-- Only Lua 5.4: what keeps secrets is the core, which is the same with each Lua.
local child = require "spec.support.child"
local server = require "spec.support.server"

-- It has what URLs must encode, so that the malformed ones have pieces of it in every place. What is searched for are
-- its parts, which are the same in whatever encoding.
local SECRET = "kaNari7%eNvogel/xY9?zWitsch@eRn=qUak&mUff:tiRili#pIep"
local PARTS = { "kanari7", "envogel", "xy9", "zwitsch", "ern=quak", "ern%3dquak", "muff", "tirili", "piep" }

local function percent(text)
    return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function base64(text)
    local pipe = assert(io.popen("printf %s '" .. text .. "' | base64 -w0"))
    local encoded = pipe:read "*a"
    pipe:close()
    return encoded
end

-- What each child begins with. Everything that `show` is given goes to its standard output, which this spec reads.
local PRELUDE = [[
    local tidepool = require "tidepool"
    local SECRET, ENCODED, URL, TCP = arg[1], arg[2], arg[3], arg[4]
    local shown = 0
    local function show(value, seen)
        seen = seen or {}
        shown = shown + 1
        print(tostring(value))
        if type(value) == "table" and not seen[value] then
            seen[value] = true
            for name, field in pairs(value) do show(name, seen) show(field, seen) end
        end
    end
    -- Whatever a database says of itself.
    local function show_all(db)
        show(db) show(db:stats()) show(db:state()) show(db:statements()) show(db:slow_queries())
        for _, option in ipairs(tidepool.options()) do
            local ok, value = pcall(db.option, db, option.name)
            show(value)
        end
    end
    -- One case: opens, asks, and shows what came of it. Returns how far it came.
    local function try(where, fn)
        local ok, db, err = pcall(tidepool.open, where)
        show(db) show(err)
        show((select(2, pcall(tidepool.is_configured, where))))
        if not ok or not db then return "not opened" end
        for _, name in ipairs { "connect", "remove", "error", "retry", "state", "notice", "rollback", "query_start",
            "query_end", "slow", "acquire", "release" } do
            db:on(name, show)
        end
        local result, why = (fn or function() return db:value "select 1" end)(db)
        show(result) show(why)
        show_all(db)
        db:close()
        return why and why.kind or "answered"
    end
    local function is(expected, outcome)
        if outcome ~= expected then error("expected " .. expected .. ", got " .. tostring(outcome), 2) end
    end
    local quick = { acquire_timeout_ms = 1000, min = 0, max = 1 }
    local noisy = { queries = true, connections = true, slow_ms = 1 }
]]

-- Runs the rest of a child and searches what it wrote.
local function run(text, environment)
    local output, code = child.run(PRELUDE .. text .. "\nprint('shown ' .. shown)", environment,
        { SECRET, percent(SECRET), server.url(), server.url { tcp = true, user = "canary", password = SECRET } })
    local lower = output:lower()
    for _, part in ipairs(PARTS) do
        local at = lower:find(part, 1, true)
        assert(not at, at and ("a part of the secret: " .. output:sub(math.max(at - 200, 1), at + 80)))
    end
    assert.is_nil(output:find(base64(SECRET):sub(1, 12), 1, true))
    assert.equal(0, code, output)
    assert.is_true(tonumber(output:match "shown (%d+)\n$") > 20, output)
end

describe("a secret", function()
    setup(function()
        server.psql("create role canary login password '" .. SECRET .. "'")
        server.psql("grant connect on database " .. server.database .. " to canary")
    end)
    teardown(function()
        server.psql("drop owned by canary; drop role canary")
    end)

    it("does not come out of URLs that are malformed", function()
        run [[
            local raw = {
                "postgresql://u:%s@h/d", "postgresql://:%s@h/d", "postgresql://u:%s@[::1/d",
                "postgresql://u:%s@h:99999/d",
                "postgresql://u:%s@h:x/d", "mysql://u:%s@h/d", "postgresql:/u:%s@h", "u:%s@h/d", "//u:%s@h", "%s",
                "postgresql://u:%s@", "postgresql://u:%s", "postgresql://h/d?password=%s&unknown=1",
                "postgresql://h/d?password=%s&sslmode=never", "postgresql://h/d?sslmode=%s",
                "postgresql://h/d?pool_max=%s", "postgresql://u:%s@h/d?oops", "postgresql://u:%s@h/d%%zz",
                "postgresql://u:%s\n@h/d", "host=h password=%s", "postgresql://u:%s%%@h/d", "postgresql://u:%s%%0@h/d",
                "postgresql://u:%s%%00@h/d", "postgresql://u:%s@h,@g:%s/d", "postgresql://u:%s@h:1:2/d",
                "postgresql://u:%s@h/d?port=%s", "postgresql://u:%s@h/d?connect_timeout=%s", " postgresql://u:%s@h/d",
                "postgresql://u:%s@h/d?sslkey=%s", "postgresql://u:%s@h/d?sslpassword=%s&ssl=no",
            }
            for _, secret in ipairs { SECRET, ENCODED, ENCODED:lower(), SECRET:sub(1, 20), (SECRET:gsub("%%", "")) } do
                local literal = secret:gsub("%%", "%%%%")
                for _, template in ipairs(raw) do
                    local url = template:gsub("%%%%", "\0"):gsub("%%s", literal):gsub("%z", "%%")
                    try(url, function() end)
                    try({ url = url, pool = quick }, function() end)
                end
            end
        ]]
    end)

    it("does not come out of options that are malformed", function()
        run [[
            local wrong = {
                { password = { SECRET } }, { passwrd = SECRET }, { password = SECRET, port = "x" }, { port = SECRET },
                { password = SECRET, pool = { min = 5, max = 1 } }, { password = SECRET, pool = { max = SECRET } },
                { password = SECRET, tls = { mode = SECRET } }, { [SECRET] = 1 }, { reset = SECRET }, { tls = SECRET },
                { password = SECRET, libpq = { unknown = SECRET } },
                { libpq = { password = SECRET, keepalives = SECRET } },
                { password = SECRET .. "\0", host = "h" }, { profile = SECRET },
                { host = "h", tls = { key = SECRET, cert = SECRET } }, { host = "h", tls = { ca = SECRET } },
                { host = "h", tls = {
                    key = "-----BEGIN PRIVATE KEY-----\n" .. SECRET .. "\n-----END PRIVATE KEY-----\n",
                } },
            }
            for _, options in ipairs(wrong) do
                -- The name of an option is no place for a secret: it is told which is not known.
                if not options[SECRET] then try(options, function() end) end
            end
            local kept = assert(tidepool.open { name = "canary", host = "h", password = SECRET })
            is("not opened", try { name = "canary", host = "h", password = SECRET .. "2" })
            is("not opened", try { name = "canary", url = "postgresql://u:" .. ENCODED .. "@h/d" })
            kept:close()
        ]]
    end)

    for name, value in pairs { DB_PASSWORD = SECRET,
        DATABASE_URL = "postgresql://u:" .. percent(SECRET) .. "@127.0.0.1:1/d",
        DB_CONNECTION_STRING = "postgresql://u:" .. SECRET .. "@127.0.0.1:1/d", DB_SSL_KEY = SECRET,
        DB_POOL_MAX = SECRET, PGPASSWORD = SECRET } do
        it("does not come out of " .. name, function()
            local environment = { DB_HOST = "127.0.0.1", DB_PORT = "1", DB_NAME = "d", DB_USER = "u" }
            environment[name] = value
            for _, more in ipairs { "DB_PORT=1", "DB_PORT=x", "DB_SSL=maybe", "DB_SSL_KEY=" .. base64(SECRET),
                "DB_SSL_CA=" .. base64("-----BEGIN CERTIFICATE-----" .. SECRET), "APP_ENV=production" } do
                local variable, text = more:match "^([^=]+)=(.*)$"
                local before = environment[variable]
                environment[variable] = text
                run([[
                    try { pool = { acquire_timeout_ms = 30, min = 0 }, log = noisy }
                    try(nil, function(db) return db:wait_ready(20) end)
                    for i = 1, 30 do show(i) end
                ]], environment)
                environment[variable] = before
            end
        end)
    end

    it("does not come out of connections that fail", function()
        run [[
            local socket = require "socket"
            local silent = assert(socket.bind("127.0.0.1", 0)) -- takes connections and says nothing
            local port = select(2, silent:getsockname())
            local function at(more)
                local options = { host = "127.0.0.1", user = "canary", database = "d", password = SECRET, log = noisy,
                    connect_timeout_ms = 100,
                    pool = { acquire_timeout_ms = 250, min = 0, max = 1 } }
                for name, value in pairs(more) do options[name] = value end
                return options
            end
            local real = tonumber(URL:match ":(%d+)/")
            is("connection", try(at { port = "1" }))                                     -- refused
            is("connection", try(at { port = tostring(port) }))                          -- silent
            is("connection", try(at { host = "unknown.invalid" }))                       -- not resolved
            is("connection", try(at { port = tostring(real), password = SECRET .. "x" })) -- wrong
            is("connection", try(at { port = tostring(real), user = "nobody_" }))
            is("connection", try(at { port = tostring(real), database = "none" }))
            is("connection", try(at { host = "/nowhere" }))
            is("connection", try(at { port = tostring(real), options = "-c nonsense=1" }))
            try(at { port = tostring(real), tls = { mode = "require" } })
            try(at { port = tostring(real), tls = true })
            try(at { port = "1", libpq = { sslpassword = SECRET } })
            try("postgresql://canary:" .. ENCODED .. "@127.0.0.1:1/d?connect_timeout=1")
            try("postgresql://canary:" .. ENCODED .. "x@127.0.0.1:" .. real .. "/d?connect_timeout=1")
            silent:close()
        ]]
    end)

    it("does not come out of calls that fail", function()
        run [[
            local function ask(...)
                local words = { ... }
                return function(db) return db:query((table.unpack or unpack)(words)) end
            end
            local with = { url = TCP, log = noisy, pool = quick }
            is("answered", try(with))
            is("timeout", try(with, ask { "select pg_sleep(9)", timeout_ms = 500 })) -- connecting is part of it
            is("database", try(with, ask "select nonsense"))
            is("database", try(with, ask("select 1 / $1::int", 0)))
            is("validation", try(with, ask("select 1", 2)))
            is("database", try(with, ask("select $1::int", "no number")))
            is("connection", try(with, ask "select pg_terminate_backend(pg_backend_pid())"))
            is("pool_timeout", try({ url = TCP, log = noisy, pool = { min = 0, max = 2, acquire_timeout_ms = 5000 } },
                function(db)
                    local a, b = assert(db:acquire()), assert(db:acquire())
                    show(a) show(b)
                    local _, err = tidepool.open { url = TCP }
                    show(err)
                    local co = coroutine.wrap(function() return db:acquire(50) end)
                    local c, why = co()
                    a:release() b:release()
                    return c, why and { kind = "pool_timeout", told = why } or nil
                end))
            is("database", try(with, function(db)
                return db:transaction(function(tx) return assert(tx:query "select nonsense") end)
            end))
            is("pool_closed", try(with, function(db) db:close() return db:query "select 1" end))
        ]]
    end)

    it("does not come out as a parameter in the log", function()
        run [[
            local lines = {}
            local log = { queries = true, slow_ms = 1, sink = function(line) lines[#lines + 1] = line end }
            local db = assert(tidepool.open { url = URL, pool = quick, log = log })
            -- An error has what the server says, and that may be a parameter; the log has only its name.
            assert(db:query("select length($1::text), pg_sleep(0.005)", SECRET))
            db:query("select $1::int", SECRET)
            db:query("select ($1::text)::int", SECRET)
            db:query_many("select length($1::text)", { { SECRET }, { SECRET } })
            db:script "create temp table canary (name text)"
            db:transaction(function(tx) return tx:query("select length($1::text)", SECRET) end)
            for _, line in ipairs(lines) do show(line) end
            show_all(db)
            assert(#lines > 4)
            db:close()
        ]]
    end)
end)
