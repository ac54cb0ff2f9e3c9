--- A server that lies: whatever comes instead of an answer is an error within its deadline, takes little memory, and
--- the process goes on with a good server.
-- Only Lua 5.4: what reads the answers is the core, and the hostile server is written for that Lua.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local pki = require "spec.support.pki"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local socket = require "socket"

local closing = portable.closing

-- Plays the scene that its argument names to every client, until one says "quit" or a minute has passed; with a folder
-- as a second argument under TLS, with the certificate of that folder.
local HOSTILE = [[
    local socket = require "socket"
    local pack = string.pack
    local function say(kind, body) return kind .. pack(">I4", #body + 4) .. body end
    local function lie(kind, size, body) return kind .. pack(">I4", size) .. (body or "") end
    local function setting(name, value) return say("S", name .. "\0" .. value .. "\0") end
    local function notice(kind, text) return say(kind, "SERROR\0C42601\0M" .. text .. "\0\0") end
    local ok = say("R", pack(">I4", 0)) .. setting("client_encoding", "UTF8") .. setting("server_version", "15.1")
    local greeting = ok .. say("K", pack(">I4I4", 7, 7)) .. say("Z", "I")
    local columns = say("T", pack(">I2", 1) .. "a\0" .. pack(">I4I2I4i2i4I2", 0, 0, 25, -1, -1, 0))
    local row = say("D", pack(">I2I4", 1, 1000) .. ("x"):rep(1000))
    local function endless(c, text)
        text = text:rep(math.ceil(65536 / #text))
        while c:send(text) do end
    end
    -- Instead of a greeting; then the client is waited for, or the connection closed.
    local first = {
        garbage = function(c) c:send(("\200\1\0\255xyz"):rep(5000)) end,
        ["a huge length"] = function(c) c:send(lie("R", 0x7FFFFFFF)) endless(c, "x") end,
        ["a negative length"] = function(c) c:send(lie("R", 0xFFFFFFFF, "x")) c:receive(1) end,
        ["a short length"] = function(c) c:send(lie("R", 1, "x")) c:receive(1) end,
        ["an error without end"] = function(c) c:send "E" endless(c, "no end of it ") end,
        ["endless notices"] = function(c) c:send(ok) endless(c, notice("N", ("n"):rep(500))) end,
        ["endless settings"] = function(c) c:send(ok) endless(c, setting("TimeZone", ("z"):rep(500))) end,
        ["one endless notice"] = function(c) c:send(ok .. lie("N", 0x7FFFFFFF)) endless(c, "x") end,
        ["an odd key"] = function(c) c:send(ok .. say("K", "abc") .. say("Z", "I")) c:receive(1) end,
        ["a foreign encoding"] = function(c)
            c:send(say("R", pack(">I4", 0)) .. setting("client_encoding", "SJIS") .. say("K", pack(">I4I4", 7, 7))
                .. say("Z", "I"))
            c:receive(1)
        end,
        ["no TLS"] = function(c) c:send "N" c:receive(1) end,
        ["half of a TLS handshake"] = function(c) c:send "S" c:receive(5) c:send "\22\3\3\0\100\2\0\0\96" end,
        ["garbage in a TLS handshake"] = function(c) c:send("S" .. ("\200\1\0\255"):rep(5000)) c:receive(5) end,
    }
    -- Instead of an answer.
    local later = {
        ["garbage "] = function(c) c:send(("\200\1\0\255xyz"):rep(5000)) end,
        ["silence"] = function(c) c:receive(100000) end,
        ["the end"] = function() end,
        ["a row of 2 GB"] = function(c) c:send(columns .. lie("D", 0x7FFFFFF0, "\0\1")) endless(c, "x") end,
        ["a row of negative length"] = function(c) c:send(columns .. lie("D", 0xFFFFFFF0, "\0\1x")) c:receive(1e5) end,
        ["a length of 2"] = function(c) c:send(lie("T", 2, "\0\1x")) c:receive(1e5) end,
        ["a cell that is longer than its row"] = function(c)
            c:send(columns .. say("D", pack(">I2I4", 1, 5000) .. "x") .. say("Z", "I")) c:receive(1e5)
        end,
        ["65535 columns"] = function(c) c:send(say("T", "\255\255" .. ("a\0"):rep(20))) c:receive(1e5) end,
        ["rows of other columns"] = function(c)
            c:send(columns .. say("D", pack(">I2I4I4", 2, 0, 0)) .. say("Z", "I")) c:receive(1e5)
        end,
        ["endless rows"] = function(c) c:send(columns) endless(c, row) end,
        ["endless notices "] = function(c) endless(c, notice("N", ("n"):rep(500))) end,
        ["endless notifications"] = function(c) endless(c, say("A", pack(">I4", 7) .. "c\0p\0")) end,
        ["endless settings "] = function(c) endless(c, setting("TimeZone", "UTC")) end,
        ["an error of 3 MB that is no UTF-8"] = function(c)
            c:send(notice("E", ("\255\27bad"):rep(600000)) .. say("Z", "I")) c:receive(1e5)
        end,
        ["a COPY that nobody wants"] = function(c) c:send(say("G", "\0\0\0")) c:receive(1e5) end,
        ["a request for a password"] = function(c) c:send(say("R", pack(">I4", 3))) c:receive(1e5) end,
        ["a result without an end"] = function(c) c:send(columns .. row .. say("C", "SELECT 1\0")) c:receive(1e5) end,
    }
    later["the middle of a row"] = function(c) c:send(columns .. row:sub(1, 500)) os.exit(true) end -- no close_notify
    local scene, folder = arg[1], arg[2]
    local function encrypted(c)
        local tls = assert(require "ssl".wrap(c, { mode = "server", protocol = "any",
            key = folder .. "/good.key", certificate = folder .. "/good.crt" }))
        tls:settimeout(5)
        return tls:dohandshake() and tls or nil, tls
    end
    local listening = assert(socket.bind("127.0.0.1", 0))
    listening:settimeout(60)
    print((select(2, listening:getsockname())))
    io.stdout:flush()
    while true do
        local c = listening:accept()
        if not c then break end
        c:settimeout(5)
        local size = c:receive(4)
        if size == "quit" then break end
        if size then c:receive(string.unpack(">I4", size) - 4) end
        if size and folder then
            c:send "S"
            c = encrypted(c)
            size = c and c:receive(4)
            if size then c:receive(string.unpack(">I4", size) - 4) end
        end
        if first[scene] then
            first[scene](c)
        elseif size then
            c:send(greeting)
            if c:receive(5) then later[scene](c) end
        end
        if c then c:close() end
    end
]]

local DEADLINE_MS, LATE_MS, GROWTH_KB = 300, 2500, 40 * 1024

local function rss_kb()
    for line in io.lines "/proc/self/status" do
        local kb = line:match "^VmRSS:%s+(%d+)"
        if kb then return tonumber(kb) end
    end
end

local function is_sanitized()
    return (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") ~= "default"
end

-- Calls fn(port) while the server plays the scene.
local function with(scene, folder, fn)
    local hostile = child.start(HOSTILE, {}, { scene, folder })
    local port = tonumber((hostile.lines()()))
    local ok, err = pcall(fn, port)
    local quit = socket.connect("127.0.0.1", port) -- nil: its last scene has ended it
    if quit then
        quit:send "quit"
        quit:close()
    end
    hostile.finish()
    assert(ok, err)
end

local function play(scene, parameters, kinds, ask, folder)
    with(scene, folder, function(port)
        local db = closing(assert(tidepool.open {
            url = ("postgresql://u:secret@127.0.0.1:%d/d?%s"):format(port, parameters), log = { queries = false,
            sink = function() end }, pool = { min = 0, max = 1, acquire_timeout_ms = DEADLINE_MS },
            connect_timeout_ms = DEADLINE_MS, query_timeout_ms = DEADLINE_MS,
            limits = { result_bytes = 4 * 1024 * 1024 } }))
        local before, began = rss_kb(), server.now()
        local result, err = ask(db)
        local took, grown = server.now() - began, rss_kb() - before
        assert.is_nil(result)
        assert.truthy((" " .. kinds .. " "):find(" " .. err.kind .. " ", 1, true), tostring(err))
        assert.truthy(utf8.len(tostring(err))) -- luacheck: ignore 113
        assert.is_nil(tostring(err):find("secret", 1, true))
        assert.is_true(took < LATE_MS, ("%s after %.0f ms"):format(tostring(err), took))
        assert.is_true(is_sanitized() or grown < GROWTH_KB, ("%s after %d kB"):format(tostring(err), grown))
        db:close()
    end)
    local good = closing(assert(tidepool.open { url = server.url(), log = { queries = false }, pool = { max = 1 } }))
    assert.equal(1, good:value "select 1")
end

local function script(db) return db:script "select a" end
local function query(db) return db:query("select $1::text", "a") end

describe("instead of a greeting", function()
    local plain = "sslmode=disable"
    local refused = "connection pool_timeout"
    local encrypted = "tls connection pool_timeout"
    local SCENES = {
        ["garbage"] = { plain, refused }, ["a huge length"] = { plain, refused },
        ["a negative length"] = { plain, refused }, ["a short length"] = { plain, refused },
        ["an error without end"] = { plain, refused }, ["endless notices"] = { plain, refused },
        ["endless settings"] = { plain, refused }, ["one endless notice"] = { plain, refused },
        ["a foreign encoding"] = { plain, refused },
        ["no TLS"] = { "sslmode=require", encrypted },
        ["half of a TLS handshake"] = { "sslmode=require", encrypted },
        ["garbage in a TLS handshake"] = { "sslmode=require", encrypted },
        ["an odd key"] = { plain, refused .. " timeout" },
    }
    for scene, how in pairs(SCENES) do
        it(scene .. " is an error in time", function() play(scene, how[1], how[2], query) end)
    end
end)

describe("instead of an answer", function()
    local ANY = "connection timeout validation database pool_timeout" -- that: no time is left to repeat it
    local folder
    lazy_setup(function() folder = assert(pki.make()) end)
    lazy_teardown(function() pki.remove(folder) end)
    local SCENES = {
        ["garbage "] = "connection", silence = "timeout", ["the end"] = "connection",
        ["a row of 2 GB"] = "validation connection timeout", ["a row of negative length"] = "connection timeout",
        ["a length of 2"] = "connection timeout", ["a cell that is longer than its row"] = "connection",
        ["65535 columns"] = "connection timeout", ["rows of other columns"] = "connection",
        ["endless rows"] = "validation timeout connection", ["endless notices "] = "timeout validation",
        ["endless notifications"] = "timeout validation", ["endless settings "] = "timeout validation",
        ["an error of 3 MB that is no UTF-8"] = "database", ["a COPY that nobody wants"] = "validation timeout",
        ["a request for a password"] = "connection timeout", ["a result without an end"] = "timeout",
    }
    for scene, kinds in pairs(SCENES) do
        it(scene .. " is an error in time (script)", function() play(scene, "sslmode=disable", kinds, script) end)
        it(scene .. " is an error in time (query)", function() play(scene, "sslmode=disable", ANY, query) end)
        it(scene .. " is an error in time (under TLS)", function()
            play(scene, "sslmode=require", ANY, query, folder)
        end)
    end

    it("the middle of a row is an error in time, also under TLS, which it cuts off", function()
        play("the middle of a row", "sslmode=disable", "connection", query)
        play("the middle of a row", "sslmode=require", "connection", query, folder)
    end)
end)
