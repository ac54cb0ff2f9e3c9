--- Quoting of identifiers and literals: what is quoted means itself to the server, and what cannot be is refused.
---
--- COUNT says how many random texts there are (make quote-soak: a million), SEED which ones.
-- Only Lua 5.4: the oracle for UTF-8 is its utf8.len, and a random text means the same to quoting on every Lua.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local COUNT = tonumber(os.getenv "COUNT" or "") or 6000
local SEED = tonumber(os.getenv "SEED" or "") or os.time()
local LONGEST, AT_ONCE = 200, 1000
local NAME_BYTES = 63 -- the server cuts longer names at a character's boundary

-- Statements whose text is never the same again are not worth preparing. Each name that is cut would be a notice.
local function open(options)
    local settings = "-c client_min_messages=error " .. (options or "")
    return closing(assert(tidepool.open { url = server.url(), prepare = false, options = settings,
        log = { queries = false, slow_ms = 0 }, pool = { min = 0, max = 1 } }))
end

local random, char, concat = math.random, string.char, table.concat
local utf8 = utf8 -- luacheck: ignore 113

-- What quoting is about, and what begins something else in SQL.
local MARKS = { "'", "''", '"', '""', "\\", "\\'", "$$", "$a$", "E'", "U&'", "--", "/*", "*/", ";",
    "\n", "\r", "\t", "%",
    "\1", "\127", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}", "\u{10000}", "\u{10FFFF}" }

local function random_bytes(n)
    local bytes = {}
    for i = 1, n do bytes[i] = char(random(0, 255)) end
    return concat(bytes)
end

-- Valid UTF-8 of n bytes; characters of all lengths.
local function random_text(n)
    local parts, len = {}, 0
    while len < n do
        local dice, part = random(10), "x"
        if dice <= 3 then
            part = MARKS[random(#MARKS)]
        elseif dice <= 7 then
            part = char(random(1, 127))
        else
            local code = random(1, ({ 0x7FF, 0xFFFF, 0x10FFFF })[dice - 7])
            if code < 0xD800 or code > 0xDFFF then part = utf8.char(code) end
        end
        if len + #part > n then part = ("y"):rep(n - len) end
        parts[#parts + 1] = part
        len = len + #part
    end
    return concat(parts)
end

-- One byte of it is any other.
local function spoilt(text)
    local at = random(#text)
    return text:sub(1, at - 1) .. random_bytes(1) .. text:sub(at + 1)
end

local function any(i)
    local n = i % (LONGEST + 1)
    local dice = random(4)
    if n == 0 then return "" end
    if dice == 1 then return random_bytes(n) end
    return dice == 2 and spoilt(random_text(n)) or random_text(n)
end

local function is_text(bytes)
    return utf8.len(bytes) ~= nil and not bytes:find("\0", 1, true)
end

-- What the server makes of a name.
local function name_of(text)
    if #text <= NAME_BYTES then return text end
    local last = NAME_BYTES
    while text:byte(last + 1) & 0xC0 == 0x80 do last = last - 1 end
    return text:sub(1, last)
end

-- The quoted form, or nil for what has to be refused, and is.
local function quoted_or_refused(quote, text, possible)
    local quoted, err = quote(text)
    if possible then
        assert(quoted, err)
    elseif quoted or err.kind ~= "validation" then
        error(("%q was quoted, or refused with %s"):format(text, tostring(err)))
    end
    return quoted
end

local function expect(wanted, got, quoted)
    if wanted ~= got then
        error(("seed %d: %q as %s came back as %q"):format(SEED, wanted, quoted, tostring(got)))
    end
end

local function literals_round_trip(db, texts)
    local quoted = {}
    for i, text in ipairs(texts) do quoted[i] = "(" .. i .. "," .. tidepool.quote_literal(text) .. ")" end
    local rows = assert(db:query { "select * from (values " .. concat(quoted, ",") .. ") v order by 1", as = "arrays" })
    assert(#rows == #texts)
    for i, text in ipairs(texts) do expect(text, rows[i][2], quoted[i]) end
end

local function identifiers_round_trip(db, texts)
    local quoted = {}
    for i, text in ipairs(texts) do quoted[i] = "1 " .. tidepool.quote_identifier(text) end
    local columns = assert(db:query { "select " .. concat(quoted, ","), as = "arrays" }).columns
    assert(#columns == #texts)
    for i, text in ipairs(texts) do expect(name_of(text), columns[i].name, quoted[i]) end
end

-- COUNT random texts, as many of them to the server as can be. Returns how many those were.
local function soak(db, quote, may_be_empty, round_trip)
    local batch, sent = {}, 0
    for i = 1, COUNT do
        local text = any(i)
        if quoted_or_refused(quote, text, is_text(text) and (may_be_empty or text ~= "")) then
            batch[#batch + 1] = text
        end
        if #batch == AT_ONCE or (i == COUNT and #batch > 0) then
            round_trip(db, batch)
            sent = sent + #batch
            batch = {}
        end
    end
    return sent
end

describe("quoting", function()
    setup(function()
        math.randomseed(SEED)
    end)

    for _, setting in ipairs { "on", "off" } do
        it("keeps every text, and refuses what is none, with standard_conforming_strings " .. setting, function()
            local db = open("-c standard_conforming_strings=" .. setting)
            assert.equal(setting, db:value "show standard_conforming_strings")
            local began = server.now()
            local literals = soak(db, tidepool.quote_literal, true, literals_round_trip)
            local names = soak(db, tidepool.quote_identifier, false, identifiers_round_trip)
            assert.is_true(literals > COUNT / 3 and literals < COUNT)
            assert.is_true(names > COUNT / 3 and names < COUNT)
            if os.getenv "COUNT" then
                print(("standard_conforming_strings %s, seed %d: of %d each, %d literals and %d identifiers came back, "
                    .. "the others were refused; %.1f s"):format(setting, SEED, COUNT, literals, names,
                    (server.now() - began) / 1000))
            end
        end)

        it("keeps every character alone and beside quotes, with standard_conforming_strings " .. setting, function()
            local db = open("-c standard_conforming_strings=" .. setting)
            local texts = {}
            for byte = 1, 127 do
                texts[#texts + 1] = char(byte)
                texts[#texts + 1] = char(byte) .. "'"
                texts[#texts + 1] = '"' .. char(byte) .. "\\"
            end
            literals_round_trip(db, texts)
            identifiers_round_trip(db, texts)
        end)
    end

    it("of a literal does not depend on what is before it", function()
        local db = open()
        assert.equal("a\\b", db:value("select" .. db:quote_literal "a\\b"))
        assert.equal("a'b", db:value("select" .. db:quote_literal "a'b"))
        assert.equal("", db:value("select" .. tidepool.quote_literal ""))
    end)

    it("takes a number for its text and raises for anything else", function()
        assert.equal("'5'", tidepool.quote_literal(5))
        for _, value in ipairs { true, {}, print } do
            assert.error_matches(function() tidepool.quote_literal(value) end, "string expected")
            assert.error_matches(function() tidepool.quote_identifier(value) end, "string expected")
        end
        assert.error_matches(function() tidepool.quote_literal(nil) end, "string expected")
    end)

    -- What CVE-2025-1094 is about: the first byte of a character that is not there swallows the quote behind it.
    it("refuses a broken character before a quote", function()
        for _, lead in ipairs { "\xC0", "\xC3", "\xE3", "\xE3\x81", "\xF0", "\xF0\x9F\x90", "\xFF" } do
            for _, text in ipairs { lead, lead .. "'; drop table account; --", "a" .. lead .. '"', lead .. "\\" } do
                local _, err = tidepool.quote_literal(text)
                assert.equal("validation error: a literal must be valid UTF-8 without NUL", tostring(err))
                _, err = tidepool.quote_identifier(text)
                assert.equal("validation", err.kind)
            end
        end
    end)
end)

describe("client_encoding", function()
    -- Each leaves a connection whose texts would be read as something else.
    local WAYS = {
        set = function(conn) return conn:exec "set client_encoding = 'LATIN1'" end,
        ["set names"] = function(conn) return conn:script "select 1; set names 'SJIS'" end,
        set_config = function(conn)
            return conn:value("select set_config('client_encoding', 'EUC_JP', $1)", false)
        end,
        control = function(conn) return conn:control "set client_encoding = 'WIN1252'" end,
        ["pipeline"] = function(conn)
            return conn:pipeline(function(p)
                p:query "select set_config('client_encoding', 'LATIN1', false)"
            end)
        end,
    }

    for name, change in pairs(WAYS) do
        it("is not changed: the connection is closed (" .. name .. ")", function()
            for known = 0, 1 do -- the second time it comes on the socket itself, where it can
                local db = closing(assert(tidepool.open { url = server.url(), log = { queries = false },
                    pool = { min = 0, max = 1 } }))
                if known == 1 then db:value("select set_config('client_encoding', 'EUC_JP', $1)", true) end
                local conn = closing(assert(db:acquire()))
                local pid = conn:backend_pid()
                local result, err = change(conn)
                assert.is_nil(result)
                assert.equal("validation", err.kind, tostring(err))
                assert.truthy(err.message:find("^client_encoding is [%u%d_]+ now"), err.message)
                local _, after = conn:query "select 1"
                assert.equal("connection", after.kind)
                conn:release()
                assert.equal("UTF8", db:value "show client_encoding")
                assert.not_equal(pid, db:value "select pg_backend_pid()")
                assert.equal("ä", db:value("select $1::text", "ä"))
            end
        end)
    end

    it("is not changed for the rest of a transaction either", function()
        local db = open()
        local result, err = db:transaction(function(tx)
            assert(tx:exec "create temporary table quote_kept (t text)")
            return tx:exec "set local client_encoding = 'LATIN1'"
        end)
        assert.is_nil(result)
        assert.equal("validation", err.kind)
        assert.equal("UTF8", db:value "show client_encoding")
    end)

    it("may be set to what it is", function()
        local db = open()
        local conn = closing(assert(db:acquire()))
        for _, name in ipairs { "UTF8", "utf-8", "unicode" } do
            assert(conn:exec("set client_encoding = '" .. name .. "'"))
            assert.equal(1, conn:value "select 1")
        end
    end)

    it("is UTF8 whatever the role and the database have", function()
        server.psql("alter role current_user set client_encoding = 'LATIN1'")
        local ok, err = pcall(function()
            assert.equal("UTF8", open():value "show client_encoding")
        end)
        server.psql("alter role current_user reset client_encoding")
        assert(ok, err)
    end)
end)

describe("a script", function()
    it("refuses parameters instead of putting them into its text", function()
        local db = open()
        local conn = closing(assert(db:acquire()))
        for _, where in ipairs { conn, db } do
            local result, err = where:script("select $1", "x'; drop table account; --")
            assert.is_nil(result)
            assert.equal("validation", err.kind)
            assert.equal("a script takes no parameters: use query for one statement", err.message)
            if where == conn then conn:release() end
        end
    end)
end)
