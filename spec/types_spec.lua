--- Every type comes the same in text and binary form, as the server writes it, and goes back as it came.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local values = require "spec.support.values"

local null = tidepool.null

local function quote(text)
    return "'" .. text:gsub("'", "''") .. "'"
end

describe("types", function()
    local db, conn

    setup(function()
        server.psql [[
            create schema types_spec;
            set search_path = types_spec;
            create type mood as enum ('sad', 'it''s "ok"', 'glücklich, ja');
            create domain quantity as int check (value >= 0);
            create domain label as varchar(20);
            create domain labels as text[];
            create domain when_due as timestamptz;
            create type part as (name text, weight float8);
            create type item as (id int8, part part, tags text[], "Price in €" numeric(12,2), due timestamptz, ok bool);
            create type plain as (a int2, b text, c bytea, d uuid);
            create type single as ("only" text);
            create domain item_of_plain as plain;
            create type text_range as range (subtype = text, collation = "C");
        ]]
        db = assert(tidepool.open{ url = server.url(), log = { queries = false } })
        conn = assert(db:acquire())
        assert(conn:exec "set search_path = types_spec, public")
    end)

    teardown(function()
        conn:release()
        db:close()
        server.psql "drop schema types_spec cascade"
    end)

    local function value(sql, ...)
        local result, err = conn:value(sql, ...)
        assert.is_nil(err, tostring(err))
        return result
    end

    -- The value of an expression, which must be the same in both forms: money has no binary form that is understood,
    -- and so a statement with it has all its columns as text.
    local function both(expression, options, ...)
        local sql = "select " .. expression .. " as v"
        local call = { sql, nulls = options and options.nulls, numbers = options and options.numbers }
        local binary, err = conn:one(call, ...)
        assert.is_nil(err, expression .. ": " .. tostring(err))
        call[1] = sql .. ", 1::money as m"
        local text, text_err = conn:one(call, ...)
        assert.is_nil(text_err, expression .. ": " .. tostring(text_err))
        local same, where = values.same(binary.v, text.v)
        assert.is_true(same, expression .. ": binary here, text there: " .. tostring(where))
        return binary.v
    end

    local function assert_same(expected, actual, what)
        local same, where = values.same(expected, actual)
        assert.is_true(same, what .. ": " .. tostring(where))
    end

    -- The text that the type's output function writes; a cast to text may write another one (of inet, bpchar, bool).
    local function written(expression, ...)
        return value(("select format('%%s', %s)"):format(expression), ...)
    end

    -- The value goes back as a parameter, alone, in an array of two dimensions and as text, and the server has the same
    -- text of it.
    local function returns(type, literal, v)
        local said = written(("%s::%s"):format(literal, type))
        local function check(got, what)
            assert.equal(said, got, ("%s as %s, %s"):format(literal, type, what))
        end
        check(written(("$1::%s"):format(type), v), "a parameter")
        if type ~= "bytea" then
            check(written(("$1::%s"):format(type), said), "a parameter as text")
        end
        if not type:find "%[%]$" then
            check(written(("($1::%s[])[2][1]"):format(type), { { null }, { v } }), "in an array")
        end
    end

    -- Literals of a type that is shown as text: what comes is the server's text.
    local function shown(type, ...)
        for _, text in ipairs{ ... } do
            local literal = quote(text)
            local said = written(literal .. "::" .. type)
            assert.equal(said, both(literal .. "::" .. type), type)
            assert_same({ said, null, said }, both(("array[%s, null, %s]::%s[]"):format(literal, literal, type)), type)
            returns(type, literal, said)
        end
    end

    -- Pairs of a literal and what comes of it.
    local function known(type, cases)
        for _, case in ipairs(cases) do
            local literal = quote(case[1])
            assert_same(case[2], both(literal .. "::" .. type), case[1] .. " as " .. type)
            assert_same({ case[2], null }, both(("array[%s, null]::%s[]"):format(literal, type)), "in an array")
            returns(type, literal, case[2])
        end
    end

    describe("that are numbers", function()
        it("are booleans", function()
            known("bool", { { "t", true }, { "f", false } })
        end)

        it("are integers to their extremes", function()
            known("int2", { { "-32768", -32768 }, { "32767", 32767 }, { "0", 0 } })
            known("int4", { { "-2147483648", -2147483648 }, { "2147483647", 2147483647 }, { "-1", -1 } })
            known("int8", {
                { "-9223372036854775808", portable.mininteger }, { "9223372036854775807", portable.maxinteger },
            })
            known("oid", { { "0", 0 }, { "4294967295", 4294967295 }, { "2147483648", 2147483648 } })
        end)

        it("are floats with infinities, NaN, both zeros and the least of them", function()
            known("float8", {
                { "Infinity", math.huge }, { "-Infinity", -math.huge }, { "NaN", 0 / 0 }, { "0", 0.0 },
                { "-0", portable.minus_zero },
                { "4.9406564584124654e-324", 4.9406564584124654e-324 }, { "5", 5.0 }, { "0.1", 0.1 },
                { "1.7976931348623157e308", portable.maxnumber }, { "1e15", 1e15 }, { "1e23", 1e23 },
                { "9007199254740993", 9007199254740992.0 }, { "-123456.789", -123456.789 },
            })
            known("float4", {
                { "Infinity", math.huge }, { "-Infinity", -math.huge }, { "NaN", 0 / 0 }, { "0", 0.0 },
                { "-0", portable.minus_zero },
                { "0.1", 0.1 }, { "3.4028235e38", 3.4028235e38 }, { "1e-45", 1e-45 }, { "16777217", 16777216.0 },
                { "1234567.9", 1234567.9 }, { "0.3333333333", 0.33333334 },
                { "7.038531e-26", 7.038531e-26 }, { "-7.038531e-26", -7.038531e-26 }, -- see tpb_put_float4
            })
        end)

        it("are numeric as a string, to 1,000 digits and more", function()
            shown("numeric", "0", "-0", "5", "5.00", "-0.000000001", "NaN", "Infinity", "-Infinity", "10000", "1e20",
                "1e-20", "9999.9999", "0.1", "100000000", "123456789012345678901234567890.0123456789",
                ("1234567890"):rep(100), "-" .. ("9"):rep(1000) .. "." .. ("0123456789"):rep(100),
                "0." .. ("0"):rep(999) .. "1", "1" .. ("0"):rep(1000))
            shown("numeric(10,3)", "1.5", "-9999999.999")
        end)

        it("are numeric as a number where asked", function()
            for _, case in ipairs{ { "5", 5 }, { "5.0", 5.0 }, { "9223372036854775807", portable.maxinteger_number },
                { "9223372036854775808", 2.0 ^ 63 }, { "NaN", 0 / 0 }, { "-Infinity", -math.huge } } do
                assert_same(case[2], both(quote(case[1]) .. "::numeric", { numbers = true }), case[1])
            end
        end)

        it("go to numeric exactly when they are numbers", function()
            for _, number in ipairs{ 0, -1, 10000, 99999999, portable.maxinteger, portable.mininteger } do
                assert.equal(tostring(number), both("$1::numeric", nil, number))
                assert_same({ tostring(number) }, both("$1::numeric[]", nil, { number }), "in an array")
            end
            for _, number in ipairs{ 0.1, -2.5, 1e300, 5e-324, 1 / 3, 123456.5 } do
                local said = value("select $1::numeric", number)
                assert.equal(number, tonumber(said))
                assert_same({ said }, value("select $1::numeric[]", { number }), "in an array")
            end
            assert_same({ "NaN", "Infinity", "-Infinity" },
                value("select $1::numeric[]", { 0 / 0, math.huge, -math.huge }), "in an array")
        end)

        it("are money, xid, cid and xid8 as the server writes them", function()
            shown("money", "1", "-12.34", "92233720368547758.07")
            shown("xid", "0", "4294967295")
            shown("xid8", "0", "18446744073709551615")
            assert.equal(value "select xmin::text from pg_class limit 1", both "(select xmin from pg_class limit 1)")
            assert.equal("0", both "'0'::cid")
        end)
    end)

    describe("that are text", function()
        it("are strings of any characters and lengths", function()
            local strings = { "", "x", "it's", 'q"q', "back\\slash", "Grüße 世界 🌊", "\1\31\127", " pad ", "NULL", "null",
                "{a,b}", "(a,b)", "a=>b", ("é"):rep(10000) }
            shown("text", portable.unpack(strings))
            shown("varchar", portable.unpack(strings))
            shown("varchar(5)", "abc", "")
            shown("bpchar", "x  ", "")
            shown("name", "pg_class", "", "Ünï \"x\"")
            assert.equal("x  ", both "'x'::char(3)")
        end)

        it('are "char" in one byte', function()
            for byte = 1, 255 do
                local literal = ([[chr(%d)]]):format(byte)
                if byte > 127 then
                    literal = ("'\\%03o'"):format(byte)
                end
                local said = value(('select (%s::"char")::text'):format(literal))
                assert.equal(said, both(literal .. '::"char"'))
            end
            assert.equal("", both [[''::"char"]])
            returns('"char"', "'x'", "x")
            returns('"char"', "''", "")
            assert_same({ "a", null, "" }, both [[array['a', null, '']::"char"[] ]], "in an array")
        end)

        it("are bytes", function()
            local all = {}
            for byte = 0, 255 do
                all[#all + 1] = string.char(byte)
            end
            all = table.concat(all)
            known("bytea", { { "", "" }, { "\\x00ff", "\0\255" }, { "\\x5c22", "\\\"" },
                { "\\x" .. all:gsub(".", function(c) return ("%02x"):format(c:byte()) end), all } })
        end)

        it("are uuids, bit strings, network addresses and search vectors", function()
            shown("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000")
            shown("bit(3)", "101", "000")
            shown("bit(17)", "10101010101010101")
            shown("varbit", "", "1", "00000000", "1" .. ("0"):rep(1000))
            shown("inet", "10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "fe80::1/64", "::ffff:1.2.3.4",
                "1:2:3:4:5:6:7:8", "255.255.255.255/31", "2001:db8::/32", "1::", "::")
            shown("cidr", "10.0.0.0/8", "192.168.1.0/24", "10.1.2.3/32", "2001:db8::/32", "::/0", "::1/128")
            shown("macaddr", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")
            shown("macaddr8", "08:00:2b:01:02:03:04:05", "00:00:00:ff:fe:00:00:00")
            shown("tsvector", "", "a fat cat", "a:1A,2 b:3C", [['it''s' 'b\\s' 'two words':16383B]], "é:5")
            shown("tsquery", "a & !b | (c <-> d)", "'it''s':*AB")
        end)

        it("are types of which nothing but the text is known", function()
            shown("pg_lsn", "16/B374D848")
            shown("regclass", "pg_class")
            shown("regtype", "integer")
            shown("jsonpath", '$."a"[*] ? (@ > 1)')
            shown("int2vector", "1 2 3")
            shown("pg_snapshot", "10:20:10,14,15")
            assert.equal("(1,,\"a b\")", both "row(1, null, 'a b')")
            assert.equal("abc", both "'abc'::unknown")
            assert.equal("", both "pg_sleep(0)")
        end)
    end)

    describe("that are dates and times", function()
        it("have infinities, BC, microseconds and far years", function()
            shown("date", "2024-02-29", "0001-01-01", "0001-12-31 BC", "4714-11-24 BC", "5874897-12-31", "infinity",
                "-infinity", "1900-03-01", "10000-01-01", "0044-03-15 BC", "2000-01-01", "1999-12-31")
            shown("time", "00:00:00", "24:00:00", "23:59:59.999999", "12:34:56.000001", "01:02:03.1")
            shown("timetz", "00:00:00+00", "24:00:00-15:59:59", "12:34:56.789+05:30", "01:02:03.000001-03",
                "10:00:00+14")
            shown("timestamp", "2024-02-29 12:34:56.789", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999",
                "0001-01-01 00:00:00", "0001-12-31 23:59:59.999999 BC", "infinity", "-infinity",
                "1999-12-31 23:59:59.999999", "2000-01-01 00:00:00.000001", "1970-01-01 00:00:00")
            shown("timestamptz", "2024-02-29 12:34:56.789+00", "4714-11-24 00:00:00+00 BC",
                "294276-12-31 23:59:59.999999+00", "infinity", "-infinity", "2024-06-01 00:00:00.000001+02")
            shown("interval", "0", "1 day 02:03:04", "-1 day +02:03:04.000005", "1 year 2 mons",
                "-1 year -2 mons +3 days", "178000000 years", "-178000000 years", "00:00:00.000001", "-00:00:00.000001",
                "100:00:00", "2562047788:00:54.775807", "-2147483648 days", "1 mon -1 day", "25 hours",
                "1 year -1 sec")
        end)

        it("are what the server writes under the session's settings, also when they change", function()
            local settings = {
                "TimeZone = 'America/St_Johns'", "TimeZone = 'UTC'", "TimeZone = 'Asia/Kathmandu'",
                "DateStyle = 'SQL, DMY'", "DateStyle = 'German'", "DateStyle = 'Postgres, MDY'",
                "DateStyle = 'ISO, YMD'", "IntervalStyle = 'iso_8601'", "IntervalStyle = 'sql_standard'",
                "IntervalStyle = 'postgres_verbose'", "IntervalStyle = 'postgres'", "TimeZone = 'GMT'",
                "extra_float_digits = 3",
            }
            local columns = {
                "timestamptz '2024-07-01 12:00:00.5+00'", "timestamp '2024-07-01 12:00'", "date '2024-07-04'",
                "interval '1 year -2 days 03:04:05.6'", "time '12:34'", "timetz '12:34+02'",
                "tstzrange('2024-07-01 12:00+00', null)",
            }
            local types = { "timestamptz", "timestamp", "date", "interval", "time", "timetz", "tstzrange" }
            local list = {}
            for n, column in ipairs(columns) do
                list[n] = ("%s as c%d, format('%%s', %s) as t%d"):format(column, n, column, n)
            end
            local sql = "select " .. table.concat(list, ", ")
            for _, setting in ipairs(settings) do
                assert(conn:exec("set " .. setting))
                local row = assert(conn:one(sql))
                for n, type in ipairs(types) do
                    local came = row["c" .. n]
                    assert.equal(row["t" .. n], came, setting)
                    -- The text that came goes back to the same value, alone and in an array.
                    assert.equal(came, written("$1::" .. type, came), setting)
                    assert.equal(came, written(("($1::%s[])[1]"):format(type), { came }), setting)
                end
            end
            assert(conn:exec "reset all")
            assert(conn:exec "set search_path = types_spec, public")
        end)
    end)

    describe("that are geometric", function()
        it("have the server's digits", function()
            shown("point", "(1,2)", "(-0,1e300)", "(0.1,-2.5)", "(Infinity,NaN)")
            shown("line", "{1,2,3}", "{0,-1,0.5}")
            shown("lseg", "[(1,2),(3,4)]")
            shown("box", "(3,4),(1,2)", "(0.1,0.2),(-1,-2)")
            shown("path", "((1,2),(3,4))", "[(1,2),(3,4),(5.5,-6)]", "[(0,0)]")
            shown("polygon", "((1,2),(3,4),(5,6))", "((0,0))")
            shown("circle", "<(1,2),3>", "<(-0.5,1e10),0>")
        end)
    end)

    describe("that are JSON", function()
        it("are documents", function()
            local cases = {
                { "{}", {} }, { "[]", {} }, { "null", null }, { "5", 5 }, { "5.5", 5.5 }, { '"x"', "x" },
                { "true", true },
                { '{"a": [1, {"b": null}], "c": "\\u00e9\\""}', { a = { 1, { b = null } }, c = 'é"' } },
                portable.has_integers and { "[9223372036854775807, 0.1]", { portable.maxinteger, 0.1 } }
                    or { "[1]", { 1 } },
            }
            for _, type in ipairs{ "json", "jsonb" } do
                for _, case in ipairs(cases) do
                    local got = both(quote(case[1]) .. "::" .. type)
                    assert_same(case[2], got, case[1])
                    assert.is_true(value(("select ($1::%s)::jsonb = $2::jsonb"):format(type),
                        tidepool.json(got), case[1]))
                    assert.is_true(value(("select ($1::%s[])[2]::jsonb = $2::jsonb"):format(type),
                        { null, tidepool.json(got) }, case[1]))
                end
            end
            assert_same({ { a = 1 }, null, { 2 } }, both [[array['{"a": 1}', null, '[2]']::jsonb[] ]], "an array")
        end)
    end)

    describe("that are arrays", function()
        it("have up to six dimensions, with NULLs", function()
            local cases = {
                ["{}"] = {}, ["{1}"] = { 1 }, ["{NULL}"] = { null }, ["{{1,2},{3,NULL}}"] = { { 1, 2 }, { 3, null } },
                ["{{{1},{2}},{{3},{4}}}"] = { { { 1 }, { 2 } }, { { 3 }, { 4 } } },
                ["{{{{1,2}}}}"] = { { { { 1, 2 } } } },
                ["{{{{{1},{2}}}}}"] = { { { { { 1 }, { 2 } } } } },
                ["{{{{{{1,2},{3,NULL}}}}}}"] = { { { { { { 1, 2 }, { 3, null } } } } } },
            }
            for literal, expected in pairs(cases) do
                for _, type in ipairs{ "int2", "int4", "int8", "oid" } do
                    assert_same(expected, both(quote(literal) .. "::" .. type .. "[]"), literal)
                    returns(type .. "[]", quote(literal), expected)
                end
                local strings = both(quote(literal) .. "::text[]")
                returns("text[]", quote(literal), strings)
                returns("numeric[]", quote(literal), strings)
                returns("float8[]", quote(literal), both(quote(literal) .. "::float8[]"))
                returns("money[]", quote(literal), both(quote(literal) .. "::money[]"))
                returns("quantity[]", quote(literal), both(quote(literal) .. "::quantity[]"))
            end
        end)

        it("count from 1, whatever their bounds are", function()
            assert_same({ "a", "b" }, both "'[0:1]={a,b}'::text[]", "bounds")
            assert_same({ { 1 }, { 2 } }, both "'[-3:-2][5:5]={{1},{2}}'::int[]", "bounds")
            assert_same({ { "1" }, { null } }, both "'[-3:-2][5:5]={{1},{NULL}}'::numeric[]", "bounds")
        end)

        it("keep any characters in their elements", function()
            local odd = { 'q"q', "b\\b", "a,b", "a;b", "{x}", " pad ", "NULL", "null", "", "\n\t", "Ω🌊", "'", "(" }
            for _, type in ipairs{ "text", "varchar", "label", "json", "tsvector", "bytea" } do
                local list = {}
                for i, s in ipairs(odd) do
                    list[i] = type == "json" and tidepool.json(s) or type == "tsvector" and "'" ..
                        s:gsub("\\", "\\\\"):gsub("'", "''") .. "'" or s
                end
                if type == "tsvector" then
                    list[9] = "'x'"
                end
                local got = both("$1::" .. type .. "[]", nil, list)
                assert.equal(#odd, #got)
                local sent = type == "tsvector" and list or odd
                assert_same(sent, got, type)
            end
        end)

        it("of boxes, whose delimiter is a semicolon, come and go", function()
            local boxes = { { "(1,1),(0,0)", null }, { "(3,3),(2,2)", "(5,5),(4,4)" } }
            assert_same(boxes, both("$1::box[]", nil, boxes), "boxes")
        end)

        it("of domains over arrays hold lists", function()
            assert_same({ "a", null, 'b"' }, both([[ '{a,NULL,"b\""}'::labels ]]), "a domain")
            assert_same({ "a", null }, both("$1::labels", nil, { "a", null }), "a domain")
            local lists = { { "a", "b" }, { 'c"' }, {} }
            assert_same(lists, both("$1::labels[]", nil, lists), "an array of a domain")
        end)
    end)

    describe("that are ranges", function()
        it("are text", function()
            shown("int4range", "[1,5)", "empty", "(,)", "[1,)", "(,5)", "[-2147483648,2147483647)")
            shown("int8range", "[-9223372036854775808,9223372036854775807)", "empty")
            shown("numrange", "[1.50,2.5]", "(1,2)", "(,1e100]", "[NaN,)", "empty")
            shown("daterange", "[2024-01-01,2024-02-29)", "(,infinity]", "[0044-03-15 BC,)")
            shown("tsrange", '["2024-01-01 00:00:00","2024-01-02 00:00:00.5")', "(,infinity)", "empty")
            shown("tstzrange", '["2024-01-01 00:00:00+00",infinity]')
            shown("text_range", '["a b","c""d")', "[a,b]", '["","\\\\"]', '["(x)","a,b"]', '("it\'s",)')
        end)

        it("are text when they are many", function()
            shown("int4multirange", "{}", "{[1,5)}", "{[1,5),[7,9),[11,)}")
            shown("nummultirange", "{(,1.0),[2.50,3]}")
            shown("tsmultirange", '{["2024-01-01 00:00:00","2024-01-02 00:00:00")}')
            shown("datemultirange", "{[2024-01-01,2024-01-02),[2024-02-01,)}")
        end)
    end)

    describe("that the database defines", function()
        it("are enums by label", function()
            shown("mood", "sad", "it's \"ok\"", "glücklich, ja")
        end)

        it("are domains, as what they are over", function()
            known("quantity", { { "5", 5 }, { "2147483647", 2147483647 } })
            shown("label", "x", "it's")
            shown("when_due", "2024-01-01 00:00:00+00")
        end)

        it("are composite values by field name", function()
            assert_same({ name = "bolt", weight = 1.5 }, both "row('bolt', 1.5)::part", "a composite")
            assert_same({ name = "" }, both "row('', null)::part", "an empty string is no NULL")
            assert_same({}, both "row(null, null)::part", "only NULLs")
            assert_same({ name = null, weight = null }, both("row(null, null)::part", { nulls = true }), "only NULLs")
            assert_same({ only = 'a "b" (c), \\d' }, both [[ row('a "b" (c), \d')::single ]], "quotes")
            assert_same({}, both "row(null)::single", "one NULL")
            assert.is_nil(both "null::part")
        end)

        it("are nested composite values with NULLs, and arrays of them", function()
            local expression = [[row(9223372036854775807, row('b "x", \y', 'NaN')::part,
                array['a', null, 'c,"d"'], 12.5, '2024-02-29 12:00+00', false)::item]]
            local expected = {
                id = portable.maxinteger, part = { name = 'b "x", \\y', weight = 0 / 0 }, tags = { "a", null, 'c,"d"' },
                ["Price in €"] = "12.50", due = "2024-02-29 12:00:00+00", ok = false,
            }
            assert_same(expected, both(expression), "an item")
            assert_same({ expected, null, {} },
                both(("array[%s, null, row(null, null, null, null, null, null)::item]"):format(expression)), "items")
            assert_same({ { expected }, { null } }, both(("array[[%s], [null::item]]"):format(expression)), "items")
            assert_same({ part = {} }, both "row(null, row(null, null)::part, null, null, null, null)::item", "NULLs")
        end)

        it("are composite values that go back as they came", function()
            local sent = {
                id = portable.mininteger, part = { name = "(,)", weight = portable.minus_zero },
                tags = { "", "NULL", null, "\\" },
                ["Price in €"] = "-1.00", due = "2024-02-29 12:00:00.000001+00", ok = true,
            }
            assert_same(sent, both("$1::item", nil, sent), "an item")
            assert_same({ sent, null, {} }, both("$1::item[]", nil, { sent, null, {} }), "items")
            assert_same({ { {}, null }, { sent, {} } }, both("$1::item[]", nil, { { {}, null }, { sent, {} } }),
                "items")
            local plain = { a = -5, b = 'x"\\,()', c = "\0\255\"", d = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" }
            assert_same(plain, both("$1::plain", nil, plain), "in binary form")
            assert_same(plain, both("$1::item_of_plain", nil, plain), "a domain")
            assert_same({ plain, null, { a = 1 } }, both("$1::plain[]", nil, { plain, null, { a = 1 } }), "binary")
            for _, only in ipairs{ "", " ", "NULL", "\n", "(", ")", ",", '"', "\\", '""', "a b", "é" } do
                assert_same({ only = only }, both("$1::single", nil, { only = only }), "one field")
            end
            assert_same({}, both("$1::single", nil, {}), "no field")
        end)
    end)

    it("are looked up anew after ALTER TYPE, at the cost of one error", function()
        for _, sql in ipairs{ "select '%s'::types_spec.changing", "select '%s'::types_spec.changing, '1'::money" } do
            server.psql "drop type if exists types_spec.changing; create type types_spec.changing as (a int)"
            assert_same({ a = 1 }, value(sql:format "(1)"), sql)
            server.psql "alter type types_spec.changing add attribute b text"
            local altered = sql:format "(1,x)"
            local result, err = conn:value(altered)
            if result == nil then
                assert.equal("database", err.kind)
                assert.matches("type changing was altered", err.message, 1, true)
            end
            assert_same({ a = 1, b = "x" }, value(altered), sql)
        end
    end)

    describe("of extensions", function()
        local function has_extension(name)
            return server.psql(("select count(*) from pg_available_extensions where name = '%s'"):format(name)) == "1"
        end

        it("are hstore tables", function()
            if not has_extension "hstore" then
                pending "PostgreSQL's contrib modules are not installed"
                return
            end
            server.psql "create extension if not exists hstore"
            local cases = {
                { "", {} }, { "a=>1", { a = "1" } }, { '"a b"=>"c\\"d", e=>NULL', { ["a b"] = 'c"d', e = null } },
                { '""=>"", "é"=>"🌊", "NULL"=>"NULL"', { [""] = "", ["é"] = "🌊", NULL = "NULL" } },
                { [["\\"=>"\\\\", "=>"=>","]], { ["\\"] = "\\\\", ["=>"] = "," } },
            }
            known("hstore", cases)
            assert_same({ { a = "1" }, {}, null }, both("$1::hstore[]", nil, { { a = 1 }, {}, null }), "an array")
            assert_same({ a = "1", b = "2.5", c = "true", d = null },
                both("$1::hstore", nil, { a = 1, b = 2.5, c = true, d = null }), "numbers and booleans")
            assert.equal("x", value("select $1::hstore -> 'k'", "k=>x"))
        end)

        it("are citext", function()
            if not has_extension "citext" then
                pending "PostgreSQL's contrib modules are not installed"
                return
            end
            server.psql "create extension if not exists citext"
            shown("citext", "AbC", "", "it's")
            assert.is_true(value("select $1::citext = any($2::citext[])", "ABC", { "abc" }))
        end)

        it("are vectors of floats", function()
            if not has_extension "vector" then
                pending "the extension vector (pgvector) is not installed"
                return
            end
            server.psql "create extension if not exists vector"
            known("vector", { { "[1,2.5,-0.1]", { 1.0, 2.5, -0.1 } }, { "[0]", { 0.0 } } })
            assert_same({ 1.0, 2.0 }, both("$1::vector", nil, { 1, 2 }), "integers")
            local _, err = conn:value("select $1::vector", { 1, "x" })
            assert.equal("parameter $1: element [2]: a vector is of numbers", err.message)
        end)
    end)
end)
