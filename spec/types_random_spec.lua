--- Random values of every type, in text and binary form, as results and as parameters, against what the server says.
---
--- TIDEPOOL_RANDOM    how many values per type (2,000; the full run has 100,000)
--- TIDEPOOL_SEED      repeats a run whose seed was printed
-- Only Lua 5.4: its generators calculate with integers of 64 bits.
local tidepool = require "tidepool"
local server = require "spec.support.server"
local values = require "spec.support.values"

local COUNT = math.tointeger(tonumber(os.getenv "TIDEPOOL_RANDOM" or 2000))
local SEED = math.tointeger(tonumber(os.getenv "TIDEPOOL_SEED" or os.time()))
local BATCH = 1000
local random = math.random

-- ------------------------------------------------------------------- building texts

local function chance(one_in)
    return random(one_in) == 1
end

local function pick(list)
    return list[random(#list)]
end

local function digits(least, most)
    local list = {}
    for i = 1, random(least, most) do
        list[i] = random(0, 9)
    end
    return table.concat(list)
end

local function join(n, separator, fn)
    local list = {}
    for i = 1, n do
        list[i] = fn()
    end
    return table.concat(list, separator)
end

-- An integer of any magnitude: as many have 1 bit as have all of them.
local function integer(bits)
    local value = random(0) >> random(64 - bits, 63)
    return chance(2) and -value or value
end

local function signed(bits)
    local least, most = -1 << (bits - 1), (1 << (bits - 1)) - 1
    if bits == 64 then
        least, most = math.mininteger, math.maxinteger
    end
    if chance(50) then
        return tostring(pick{ least, most, 0, -1 })
    end
    return tostring(math.max(least, math.min(most, integer(bits))))
end

local function unsigned(bits)
    return chance(50) and ("%u"):format(pick{ 0, 1, (1 << bits) - 1 }) or tostring(random(0) >> random(64 - bits, 63))
end

local SPECIAL_FLOATS = { "NaN", "Infinity", "-Infinity", "0", "-0" }

local function float8()
    if chance(30) then
        return pick(SPECIAL_FLOATS)
    elseif chance(3) then
        return ("%.17g"):format(random(-10 ^ 6 // 1, 10 ^ 6 // 1) / pick{ 1, 2, 3, 10, 100, 1024 })
    end
    local value = string.unpack("d", string.pack("j", random(0)))
    return value == value and math.abs(value) < math.huge and ("%.17g"):format(value) or "1e-300"
end

local function float4()
    if chance(30) then
        return pick(SPECIAL_FLOATS)
    elseif chance(3) then
        return tostring(random(-100000, 100000) / pick{ 1, 2, 3, 10, 100, 1024 })
    end
    local value = string.unpack("f", string.pack("I4", random(0) & 0xffffffff))
    return value == value and math.abs(value) < math.huge and ("%.9g"):format(value) or "1e-30"
end

-- Without -0 and exponents beyond what float8 has in plain digits: coordinates.
local function coordinate()
    return chance(4) and float8() or tostring(random(-1000, 1000) / pick{ 1, 2, 4, 3, 10 })
end

local function finite()
    local text = coordinate()
    return (text:find "[NI]" or math.abs(tonumber(text)) > 1e100) and "1.5" or text
end

local function numeric()
    if chance(50) then
        return pick{ "NaN", "Infinity", "-Infinity", "0", "0.000", "-0.0001" }
    end
    local sign = pick{ "", "-" }
    if chance(20) then
        return sign .. digits(1, 20) .. "e" .. random(-60, 60)
    end
    local most = chance(200) and 1000 or 40
    local text = sign .. digits(1, most)
    return chance(2) and text .. "." .. digits(1, most) or text
end

local LETTERS = { "a", "B", "z", "0", " ", "é", "ß", "世", "🌊", "'", '"', "\\", ",", "(", ")", "{", "}", "[", "]", ";",
    "\n", "\t", "\r", "\1", "\127", "=>", "NULL", "null", "%", "\u{FFFD}", "$1", ":" }

local function text()
    if chance(100) then
        return pick{ "", "NULL", "null", '""', "\\", "{}", "()", "\u{10FFFF}" }
    end
    return join(random(0, chance(50) and 300 or 12), "", function() return pick(LETTERS) end)
end

local function word()
    return join(random(1, 8), "", function() return pick{ "a", "b", "c", "é", "x", "1" } end)
end

local function hex(bytes)
    return join(bytes, "", function() return ("%02x"):format(random(0, 255)) end)
end

local function clock()
    local seconds = ("%02d:%02d:%02d"):format(random(0, 23), random(0, 59), random(0, 59))
    return chance(2) and seconds or seconds .. "." .. digits(1, 6)
end

local function day(era)
    local year = chance(3) and random(1, era or 5000) or random(1900, 2100)
    return ("%04d-%02d-%02d"):format(year, random(1, 12), random(1, 28))
end

local function bc(moment)
    return chance(20) and moment .. " BC" or moment
end

local function date()
    if chance(50) then
        return pick{ "infinity", "-infinity", "4714-11-24 BC", "5874897-12-31", "2000-01-01", "1999-12-31" }
    end
    return chance(4) and day(5874896) or chance(10) and day(4713) .. " BC" or day()
end

local function timestamp()
    if chance(50) then
        return pick{ "infinity", "-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999" }
    end
    return chance(4) and day(294275) .. " " .. clock() or bc(day(4713) .. " " .. clock())
end

local function zone()
    return ("%s%02d:%02d"):format(pick{ "+", "-" }, random(0, 14), random(0, 59))
end

local function timestamptz()
    if chance(50) then
        return timestamp()
    end
    if chance(4) then
        return day(294275) .. " " .. clock() .. zone()
    end
    return bc(day(4712) .. " " .. clock() .. zone())
end

local function interval()
    local parts = {}
    for _, unit in ipairs{ "year", "mon", "day" } do
        if chance(2) then
            parts[#parts + 1] = random(-1, 1) * (chance(5) and random(0, 100000000) or random(0, 40)) .. " " .. unit
        end
    end
    if chance(2) or #parts == 0 then
        parts[#parts + 1] = pick{ "", "-" } .. random(0, chance(5) and 1000000 or 30) .. clock():sub(3)
    end
    return table.concat(parts, " ")
end

local function bits(least, most)
    return join(random(least, most), "", function() return random(0, 1) end)
end

local function ip()
    if chance(2) then
        return join(4, ".", function() return random(0, 255) end), 32
    end
    return join(8, ":", function() return chance(2) and "0" or ("%x"):format(random(0, 65535)) end), 128
end

local function inet()
    local address, width = ip()
    return chance(2) and address or address .. "/" .. random(0, width)
end

local function cidr()
    local width = random(0, 32)
    local bytes = random(0, 0xffffffff) & ~(0xffffffff >> width)
    return ("%d.%d.%d.%d/%d"):format(bytes >> 24 & 255, bytes >> 16 & 255, bytes >> 8 & 255, bytes & 255, width)
end

local function point()
    return "(" .. coordinate() .. "," .. coordinate() .. ")"
end

local function points(open, close)
    return open .. join(random(1, 6), ",", point) .. close
end

local function ordered(fn, less)
    local a, b = fn(), fn()
    if less(b, a) then
        a, b = b, a
    end
    return a, b
end

local function range(fn, less)
    return function()
        if chance(20) then
            return "empty"
        end
        local a, b = ordered(fn, less)
        local low, high = pick{ "[", "(" }, pick{ "]", ")" }
        if chance(10) then
            a = ""
        elseif chance(10) then
            b = ""
        end
        return low .. (a == "" and "" or '"' .. a .. '"') .. "," .. (b == "" and "" or '"' .. b .. '"') .. high
    end
end

local function multirange(fn)
    return function()
        return "{" .. join(random(0, 4), ",", fn) .. "}"
    end
end

local function by_number(a, b)
    return tonumber(a) < tonumber(b)
end

local function by_text(a, b)
    return a < b
end

local function small_int()
    return tostring(random(-1000000, 1000000))
end

local function plain_date()
    return ("%04d-%02d-%02d"):format(random(1000, 9999), random(1, 12), random(1, 28))
end

local function plain_timestamp()
    return plain_date() .. " " .. clock()
end

-- Tokens of a JSON text. Floats are written as short as they can be, as they will come back.
local function json_text(depth)
    local kind = depth == 0 and random(1, 5) or random(1, 7)
    if kind == 1 then
        return tostring(integer(64))
    elseif kind == 2 then
        return ("%.15g"):format(random(-10 ^ 9 // 1, 10 ^ 9 // 1) / 1000 + 0.0005)
    elseif kind == 3 then
        return pick{ "true", "false", "null" }
    elseif kind <= 5 then
        return '"' .. text():gsub('[%c"\\\127]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
    elseif kind == 6 then
        return "[" .. join(random(0, 4), ", ", function() return json_text(depth - 1) end) .. "]"
    end
    local n = 0
    return "{" .. join(random(0, 4), ",", function()
        n = n + 1
        return ('"k%d%s": %s'):format(n, word(), json_text(depth - 1))
    end) .. "}"
end

local function quoted(s)
    return '"' .. s:gsub('[\\"]', "\\%0") .. '"'
end

local function array(fn, delimiter)
    local function level(lengths, depth)
        if depth > #lengths then
            return chance(8) and "NULL" or quoted(fn())
        end
        return "{" .. join(lengths[depth], delimiter or ",", function() return level(lengths, depth + 1) end) .. "}"
    end
    return function()
        local lengths = {}
        for i = 1, chance(3) and random(2, 6) or 1 do
            lengths[i] = random(1, 3)
        end
        return chance(20) and "{}" or level(lengths, 1)
    end
end

local function record(...)
    local fields = { ... }
    return function()
        local list = {}
        for i, fn in ipairs(fields) do
            list[i] = chance(5) and "" or quoted(fn())
        end
        return "(" .. table.concat(list, ",") .. ")"
    end
end

local function hstore()
    local n = 0
    return join(random(0, 5), ", ", function()
        n = n + 1
        return quoted(n .. text()) .. "=>" .. (chance(6) and "NULL" or quoted(text()))
    end)
end

local function tsvector()
    return join(random(0, 5), " ", function()
        local lexeme = "'" .. word() .. pick{ "", " ", "\\\\", "''" } .. "'"
        return chance(2) and lexeme or lexeme .. ":" .. join(random(1, 3), ",", function()
            return random(1, 16383) .. pick{ "", "A", "B", "C", "D" }
        end)
    end)
end

-- ------------------------------------------------------------------------ the types

local function by_tonumber(said)
    local special = { NaN = 0 / 0, Infinity = math.huge, ["-Infinity"] = -math.huge, ["-0"] = -0.0 }
    return special[said] or tonumber(said) + 0.0
end

local function as_bytes(said)
    return (said:sub(3):gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

local function as_it_is(said)
    return said
end

local MOODS = { "sad", 'it\'s "ok"', "glücklich, ja" }
local function mood()
    return pick(MOODS)
end

-- Name, generator, and what Lua has for a text that the server writes (nil: see the parameters).
local TYPES = {
    { "bool", function() return pick{ "t", "f" } end, function(said) return said == "t" end },
    { "int2", function() return signed(16) end, math.tointeger },
    { "int4", function() return signed(32) end, math.tointeger },
    { "int8", function() return signed(64) end, math.tointeger },
    { "oid", function() return unsigned(32) end, math.tointeger },
    { "float4", float4, by_tonumber },
    { "float8", float8, by_tonumber },
    { "numeric", numeric, as_it_is },
    { "money", function() return signed(48) .. "." .. digits(2, 2) end, as_it_is },
    { "text", text, as_it_is },
    { "varchar", text, as_it_is },
    { "bpchar", text, as_it_is },
    { "name", word, as_it_is },
    { '"char"', function() return pick{ "", "a", "Z", " ", '"', "\\", "," } end, as_it_is },
    { "bytea", function() return "\\x" .. hex(random(0, 40)) end, as_bytes },
    { "uuid", function() return hex(16) end, as_it_is },
    { "json", function() return json_text(3) end },
    { "jsonb", function() return json_text(3) end },
    { "date", date, as_it_is },
    { "time", clock, as_it_is },
    { "timetz", function() return clock() .. zone() end, as_it_is },
    { "timestamp", timestamp, as_it_is },
    { "timestamptz", timestamptz, as_it_is },
    { "interval", interval, as_it_is },
    { "inet", inet, as_it_is },
    { "cidr", cidr, as_it_is },
    { "macaddr", function() return hex(6) end, as_it_is },
    { "macaddr8", function() return hex(8) end, as_it_is },
    { "bit(70)", function() return bits(1, 70) end, as_it_is },
    { "varbit", function() return bits(0, 70) end, as_it_is },
    { "point", point, as_it_is },
    { "lseg", function() return "[" .. point() .. "," .. point() .. "]" end, as_it_is },
    { "box", function() return point() .. "," .. point() end, as_it_is },
    { "path", function() return chance(2) and points("(", ")") or points("[", "]") end, as_it_is },
    { "polygon", function() return points("(", ")") end, as_it_is },
    { "line", function() return ("{%s,1.5,%s}"):format(finite(), finite()) end, as_it_is },
    { "circle", function() return ("<(%s,%s),%s>"):format(finite(), finite(), random(0, 99) / 4) end, as_it_is },
    { "tsvector", tsvector, as_it_is },
    { "xid", function() return unsigned(32) end, as_it_is },
    { "xid8", function() return unsigned(63) end, as_it_is },
    { "int4range", range(small_int, by_number), as_it_is },
    { "int8range", range(small_int, by_number), as_it_is },
    { "numrange", range(function() return small_int() .. "." .. digits(0, 5) end, by_number), as_it_is },
    { "daterange", range(plain_date, by_text), as_it_is },
    { "tsrange", range(plain_timestamp, by_text), as_it_is },
    { "tstzrange", range(plain_timestamp, by_text), as_it_is },
    { "int4multirange", multirange(range(small_int, by_number)), as_it_is },
    { "nummultirange", multirange(range(small_int, by_number)), as_it_is },
    { "tsmultirange", multirange(range(plain_timestamp, by_text)), as_it_is },
    { "types_random.mood", mood, as_it_is },
    { "types_random.quantity", function() return tostring(random(0, 0x7fffffff)) end, math.tointeger },
    { "types_random.part", record(word, float8, mood) },
    { "types_random.item", record(function() return signed(64) end, record(text, float8, mood), array(text), numeric,
        timestamptz, function() return "\\x" .. hex(random(0, 9)) end) },
    { "bool[]", array(function() return pick{ "t", "f" } end) },
    { "int4[]", array(function() return signed(32) end) },
    { "int8[]", array(function() return signed(64) end) },
    { "float8[]", array(float8) },
    { "numeric[]", array(numeric) },
    { "text[]", array(text) },
    { "bytea[]", array(function() return "\\x" .. hex(random(0, 9)) end) },
    { "uuid[]", array(function() return hex(16) end) },
    { "date[]", array(date) },
    { "timestamptz[]", array(timestamptz) },
    { "box[]", array(function() return point() .. "," .. point() end, ";") },
    { "types_random.mood[]", array(mood) },
    { "types_random.part[]", array(record(word, float8, mood)) },
}

if server.psql "select count(*) from pg_available_extensions where name = 'hstore'" == "1" then
    TYPES[#TYPES + 1] = { "hstore", hstore }
end

-- One composite type per type whose values go in binary form, and one with a timestamptz, whose values go as text, for
-- what that means depends on the session.
local function schema()
    local sql = {
        "create schema types_random; create extension if not exists hstore schema public;",
        "set search_path = types_random, public;",
        [[create type mood as enum ('sad', 'it''s "ok"', 'glücklich, ja');]],
        "create domain quantity as int check (value >= 0); create type part as (name text, weight float8, mood mood);",
        "create type item as (id int8, part part, tags text[], price numeric, due timestamptz, raw bytea);",
    }
    if TYPES[#TYPES][1] ~= "hstore" then
        sql[1] = "create schema types_random;"
    end
    for i, type in ipairs(TYPES) do
        sql[#sql + 1] = ("create type in_binary%d as (v %s); create type in_text%d as (v %s, at timestamptz);")
            :format(i, type[1], i, type[1])
    end
    return table.concat(sql, "\n")
end

describe("random values", function()
    local db, conn, name

    setup(function()
        print(("types_random_spec: %d values per type, TIDEPOOL_SEED=%d"):format(COUNT, SEED))
        server.psql(schema())
        db = assert(tidepool.open{ url = server.url(), log = { queries = false } })
        conn = assert(db:acquire())
        assert(conn:exec "set search_path = types_random, public")
    end)

    teardown(function()
        conn:release()
        db:close()
        server.psql "drop schema types_random cascade"
    end)

    local function query(sql, ...)
        local result, err = conn:query({ sql, as = "columns" }, ...)
        if err then
            error(("%s (TIDEPOOL_SEED=%d)"):format(err, SEED), 2)
        end
        return result
    end

    local function differ(what, input, said, detail)
        error(("%s, %s: %s: the server says %s: %s (TIDEPOOL_SEED=%d)")
            :format(name, what, values.show(input), values.show(said), detail, SEED), 3)
    end

    local function is_json()
        return name == "json" or name == "jsonb"
    end

    -- What the output function writes; equal JSON documents have one text as jsonb.
    local function text_of(expression)
        return ("format('%%s', %s)"):format(is_json() and expression .. "::jsonb" or expression)
    end

    -- What came in binary and in text form, and the server's own text. Returns the values and the texts.
    local function read(inputs, expected)
        local columns = "select x::" .. name .. " as v, " .. text_of("x::" .. name) .. " as said"
        local from = " from unnest($1::text[]) with ordinality u(x, i) order by i"
        local binary = query(columns .. from, inputs)
        local as_text = query(columns .. ", 1::money as forces_text" .. from, inputs)
        for i = 1, #inputs do
            local same, where = values.same(binary.v[i], as_text.v[i])
            if not same then
                differ("binary here, text there", inputs[i], binary.said[i], where)
            end
            if expected then
                same, where = values.same(binary.v[i], expected(binary.said[i]))
                if not same then
                    differ("decoded", inputs[i], binary.said[i], where)
                end
            end
        end
        return binary.v, binary.said
    end

    local function check(what, inputs, said, got)
        assert.equal(#said, #got)
        for i = 1, #said do
            if said[i] ~= got[i] then
                differ(what, inputs[i], said[i], "and " .. values.show(got[i]) .. " came back")
            end
        end
    end

    -- Each value a parameter of its own.
    local function singly(what, inputs, said, list)
        local marks = {}
        for i = 1, #list do
            marks[i] = ("($%d::%s)"):format(i, name)
        end
        local sql = "select " .. text_of "v" .. " as got from (values " .. table.concat(marks, ",") .. ") u(v)"
        check(what, inputs, said, query(sql, table.unpack(list, 1, #list)).got)
    end

    -- All values in one array parameter; `type` is that of its elements.
    local function together(what, inputs, said, list, type)
        local sql = ("select %s as got from (select unnest($1::%s[]) as v) u")
            :format(text_of(type == name and "v" or "(v).v"), type)
        check(what, inputs, said, query(sql, list).got)
    end

    -- An array that comes as a result.
    local function aggregated(inputs, list)
        local columns = "select array_agg(x::" .. name .. " order by i) as v"
        local from = " from unnest($1::text[]) with ordinality u(x, i)"
        for _, more in ipairs{ "", ", 1::money as forces_text" } do
            local same, where = values.same(list, query(columns .. more .. from, inputs).v[1])
            if not same then
                differ("an array" .. more, inputs[1], "", where)
            end
        end
    end

    local function wrapped(list, at)
        local out = {}
        for i = 1, #list do
            out[i] = { v = list[i], at = at }
        end
        return out
    end

    local function batch(i, generate, expected, size)
        local inputs = {}
        for n = 1, size do
            inputs[n] = generate()
        end
        local list, said = read(inputs, expected)
        if not is_json() and not name:find "%[%]$" then
            aggregated(inputs, list)
        end
        for n = 1, is_json() and size or 0 do
            list[n] = tidepool.json(list[n])
        end
        singly("a parameter", inputs, said, list)
        if name ~= "bytea" then
            singly("a parameter as text", inputs, said, said)
        end
        if not name:find "%[%]$" then
            together("in an array", inputs, said, list, name)
        end
        together("in a composite value", inputs, said, wrapped(list), "in_binary" .. i)
        together("in a composite value as text", inputs, said, wrapped(list, "2024-02-29 12:00:00+00"), "in_text" .. i)
    end

    for i, type in ipairs(TYPES) do
        it("of " .. type[1] .. " are the same everywhere", function()
            name = type[1]
            math.randomseed(SEED, i)
            local began = server.now()
            for done = 0, COUNT - 1, BATCH do
                batch(i, type[2], type[3], math.min(BATCH, COUNT - done))
            end
            if os.getenv "TIDEPOOL_RANDOM" then
                local seconds = (server.now() - began) / 1000
                print(("types_random_spec: %-24s %7d values, %5.1f s"):format(name, COUNT, seconds))
            end
        end)
    end
end)
