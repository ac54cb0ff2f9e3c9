--- Types for which the program has functions of its own.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local null = tidepool.null

describe("define_type", function()
    local db

    setup(function()
        server.psql [[
            create schema define_type;
            create type define_type.money as (cents int8);
            create type define_type.mood as enum ('sad', 'happy');
            create type define_type.line as (id int, at point, mood define_type.mood);
            create domain define_type.happy as define_type.mood;
        ]]
    end)

    teardown(function()
        server.psql "drop schema define_type cascade"
    end)

    before_each(function()
        db = assert(tidepool.open{ url = server.url(), log = { queries = false }, pool = { max = 2 } })
    end)

    after_each(function()
        db:close()
    end)

    local function value(sql, ...)
        local result, err = db:value(sql, ...)
        assert.is_nil(err, tostring(err))
        return result
    end

    local function refused(words, sql, ...)
        local result, err = db:query(sql, ...)
        assert.is_nil(result)
        assert.is_table(err, "no error for: " .. words)
        assert.equal("validation", err.kind, tostring(err))
        assert.is_truthy(err.message:find(words, 1, true), ("%q is not in %q"):format(words, err.message))
        assert.equal(1, value "select 1")
    end

    local Point = {}
    Point.__index = Point

    local function point(x, y)
        return setmetatable({ x = x, y = y }, Point)
    end

    local function define_point()
        assert(db:define_type{
            name = "point",
            decode = function(text)
                local x, y = text:match "^%((.*),(.*)%)$"
                return point(tonumber(x), tonumber(y))
            end,
            encode = function(p) return ("(%s,%s)"):format(p.x, p.y) end,
        })
    end

    it("gives results to decode and parameters to encode", function()
        define_point()
        local p = value("select $1::point", point(1, 2.5))
        assert.equal(Point, getmetatable(p))
        assert.same({ x = 1, y = 2.5 }, p)
        assert.equal("(1,2.5)", value("select format('%s', $1::point)", point(1, 2.5)))
        assert.is_nil(value("select $1::point", nil))
        assert.is_nil(value("select $1::point", null))
    end)

    it("counts for statements that were prepared before", function()
        assert.equal("(1,2)", value "select point(1, 2)")
        assert.equal("(1,2)", value("select $1::point", "(1,2)"))
        define_point()
        assert.same({ x = 1, y = 2 }, value "select point(1, 2)")
        assert.same({ x = 1, y = 2 }, value("select $1::point", point(1, 2)))
    end)

    it("counts in arrays of the type, of any depth", function()
        define_point()
        local list = value("select $1::point[]", { point(1, 2), null, point(-1, 0) })
        assert.equal(3, #list)
        assert.equal(Point, getmetatable(list[1]))
        assert.same({ x = -1, y = 0 }, list[3])
        assert.equal(null, list[2])
        assert.same({ { { x = 1, y = 2 } }, { { x = 3, y = 4 } } },
            value("select $1::point[]", { { point(1, 2) }, { point(3, 4) } }))
        assert.same({ { { x = 1, y = 2 } } }, value("select $1::point[]", { { { x = 1, y = 2 } } }))
        assert.same({}, value("select $1::point[]", {}))
        assert.equal("{}", value("select format('%s', $1::point[])", {}))
    end)

    it("counts in the fields of composite types", function()
        define_point()
        local sent = { id = 5, at = point(3, 4), mood = "sad" }
        local row = value("select $1::define_type.line", sent)
        assert.equal(Point, getmetatable(row.at))
        assert.same({ id = 5, at = { x = 3, y = 4 }, mood = "sad" }, row)
        assert.same({ { id = 5, at = { x = 3, y = 4 }, mood = "sad" }, null },
            value("select $1::define_type.line[]", { sent, null }))
        assert.same({ id = 5, at = { x = 3, y = 4 } }, value("select $1::define_type.line", { 5, point(3, 4) }))
    end)

    it("takes values of any kind, strings and numbers too", function()
        assert(db:define_type{
            name = "numeric",
            decode = function(text) return text == "NaN" and text or portable.tointeger(tonumber(text) * 100) end,
            encode = function(cents)
                return type(cents) == "string" and cents or ("%d.%02d"):format(math.floor(cents / 100), cents % 100)
            end,
        })
        assert.equal(1234, value("select $1::numeric", 1234))
        assert.equal(12.34, value("select $1::numeric::float8", 1234))
        assert.equal("NaN", value("select $1::numeric", "NaN"))
        assert.same({ { 1, 2 }, { 300, null } }, value("select $1::numeric[]", { { 1, 2 }, { 300, null } }))
        assert.equal("{{0.01,0.02}}", value("select format('%s', $1::numeric[])", { { 1, 2 } }))
    end)

    it("quotes what encode gave wherever the text needs it", function()
        local odd = [[a "b", (c) {d} \e, NULL]]
        assert(db:define_type{
            name = "text",
            encode = function(v) return v.s end,
            decode = function(s) return { s = s } end,
        })
        assert.same({ { s = odd }, null, { s = "" }, { s = "NULL" } },
            value("select $1::text[]", { { s = odd }, null, { s = "" }, { s = "NULL" } }))
        assert.same({ s = odd }, value("select $1::text", { s = odd }))
    end)

    it("is for the types of one database object", function()
        define_point()
        local other = assert(tidepool.open{ url = server.url(), log = { queries = false } })
        assert.equal("(1,2)", other:value "select point(1, 2)")
        other:close()
        assert.same({ x = 1, y = 2 }, value "select point(1, 2)")
    end)

    it("knows a type of the database by its name, alone or with its schema", function()
        for _, name in ipairs{ "mood", "define_type.mood" } do
            assert(db:define_type{ name = name, decode = string.upper, encode = string.lower })
            assert.equal("HAPPY", value("select $1::define_type.mood", "Happy"))
            assert.same({ "SAD" }, value("select $1::define_type.mood[]", { "SAD" }))
        end
        assert.equal("(5)", value("select format('%s', $1::define_type.money)", { cents = 5 }))
    end)

    it("may have one function of the two", function()
        assert(db:define_type{ name = "define_type.mood", decode = string.upper })
        assert.equal("SAD", value("select $1::define_type.mood", "sad"))
        assert.same({ "SAD" }, value("select $1::define_type.mood[]", { "sad" }))
        assert(db:define_type{ name = "define_type.mood", encode = string.lower })
        assert.equal("sad", value("select $1::define_type.mood", "SAD"))
        assert(db:define_type{ name = "define_type.mood" })
        assert.equal("sad", value("select $1::define_type.mood", "sad"))
    end)

    it("takes a whole composite value as its text", function()
        assert(db:define_type{
            name = "define_type.money",
            decode = function(text) return tonumber(text:match "%d+") end,
            encode = function(cents) return "(" .. cents .. ")" end,
        })
        assert.equal(250, value("select $1::define_type.money", 250))
        assert.equal(250, value("select ($1::define_type.money).cents", 250))
    end)

    it("refuses what encode fails on, and names the parameter", function()
        define_point()
        assert(db:define_type{ name = "define_type.mood", encode = function(v)
            if v == "table" then error{ code = 1 } end
            return v ~= "number" and v or 5
        end })
        refused("parameter $2: the codec of type point failed: ", "select $1::int, $2::point", 1, 5)
        refused("parameter $1: the codec of type point failed: ", "select $1::point", true)
        refused("parameter $1: element [2]: the codec of type point failed: ",
            "select $1::point[]", { point(1, 2), false })
        refused('parameter $1: field "at": the codec of type point failed: ',
            "select $1::define_type.line", { at = true })
        refused("parameter $1: the codec of type define_type.mood failed: table",
            "select $1::define_type.mood", "table")
        refused("parameter $1: the codec of type define_type.mood gave a number and no string",
            "select $1::define_type.mood", "number")
        refused("parameter $1: text with a NUL byte", "select $1::define_type.mood", "a\0b")
        refused("parameter $1: text that is not valid UTF-8", "select $1::define_type.mood", "\255")
        refused("parameter $1: the codec of type point failed: ", "select $1::point", print)
    end)

    it("leaves a transaction open when encode fails", function()
        define_point()
        assert(db:transaction(function(tx)
            local backend = tx:value "select pg_backend_pid()"
            local _, err = tx:value("select $1::point", 5)
            assert.equal("validation", err.kind)
            assert.equal(backend, tx:value "select pg_backend_pid()")
            return true
        end))
    end)

    it("lets encode use the database", function()
        assert(db:define_type{ name = "define_type.mood", encode = function(v)
            return assert(db:value("select $1::text || $2::text", v, "y"))
        end })
        assert.equal("happy", value("select $1::define_type.mood", "happ"))
        assert.same({ "happy", "happy" }, value("select $1::define_type.mood[]::text[]", { "happ", "happ" }))
    end)

    it("says what is wrong with a definition", function()
        assert.has_error(function() db:define_type{} end, "define_type: 'name' must be a string")
        assert.has_error(function() db:define_type{ name = "x", encode = 5 } end,
            "define_type: 'encode' must be a function")
        assert.has_error(function() db:define_type{ name = "x", decoder = tostring } end,
            "unknown option 'decoder' of define_type (known: name, decode, encode)")
    end)

    local function define_mood(decode)
        assert(db:define_type{ name = "define_type.mood", decode = decode, encode = tostring })
    end

    it("may release the client whose row is being read", function()
        local sql = "select 'sad'::define_type.mood, repeat('x', 300) from generate_series(1, 3000)"
        for _, call in ipairs{ "query", "each" } do
            local client = closing(assert(db:acquire()))
            define_mood(function() client:release() end)
            local good, result, err = pcall(client[call], client, sql)
            if call == "each" then
                assert.is_true(good)
                good, err = pcall(result)
            end
            assert.equal(call == "query", good)
            assert.equal("validation", err.kind, tostring(err))
        end
        assert.equal(1, value "select 1")
    end)

    it("does not put off the deadline", function()
        define_mood(function()
            local start = os.clock()
            while os.clock() - start < 0.002 do end
        end)
        local sql = "select 'sad'::define_type.mood, repeat('x', 300) from generate_series(1, 3000)"
        local start = os.clock()
        local result, err = db:query{ sql, timeout_ms = 100 }
        assert.is_nil(result)
        assert.equal("timeout", err.kind)
        result, err = db:pipeline(function(p) p:query(sql) end, { timeout_ms = 100 })
        assert.is_nil(result)
        assert.equal("timeout", err.kind)
        assert.is_true(os.clock() - start < 4)
    end)
end)
