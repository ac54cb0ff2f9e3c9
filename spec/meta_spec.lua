--- lua/tidepool/meta.lua, the annotations for editors, has exactly what there is.
--
-- It is read as text: the classes with their fields, functions and parents. What is missing on either side is named.
local core = require "tidepool.core"
local tidepool = require "tidepool"
local server = require "spec.support.server"

local path = debug.getinfo(1, "S").source:match "^@(.-)spec/meta_spec%.lua$" .. "lua/tidepool/meta.lua"

-- ------------------------------------------------------------------ reading

local function read()
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    return text
end

-- A function, with the names that are written for it and those that it has.
local function take_function(class, line, params, returns)
    local name, list = line:match "^function [%w_]+[.:]([%w_]+)%((.-)%) end$"
    local written = {}
    for param in list:gmatch "[^,%s]+" do
        written[#written + 1] = param
    end
    class.functions[name] = {
        params = table.concat(params, ", "), has = table.concat(written, ", "), returns = returns,
        is_method = line:match "^function [%w_]+:" ~= nil,
    }
end

--- {class = {fields = {name = type}, functions = {name = ...}, parent = name or nil}} of the text.
local function parse(text)
    local classes, current, of_variable, params, returns = {}, nil, {}, {}, 0
    for line in text:gmatch "([^\n]*)\n" do
        local name, parent = line:match "^%-%-%-@class ([%w_.]+):? ?([%w_.]*)$"
        local field, kind = line:match "^%-%-%-@field ([%w_]+)%?? (.+)$"
        local variable = line:match "^local ([%w_]+) = {}$"
        local receiver = line:match "^function ([%w_]+)[.:]"
        local param = line:match "^%-%-%-@param ([%w_.]+)"
        if name then
            assert(not classes[name], "twice in meta.lua: " .. name)
            current = { fields = {}, functions = {}, parent = parent ~= "" and parent or nil }
            classes[name] = current
        elseif field then
            current.fields[field] = kind
        elseif variable then
            of_variable[variable] = current
        elseif param then
            params[#params + 1] = param
        elseif line:find "^%-%-%-@return " then
            returns = returns + 1
        elseif receiver then
            take_function(of_variable[receiver], line, params, returns)
            params, returns = {}, 0
        end
    end
    return classes
end

local text = read()
local classes = parse(text)

-- The names of a class and of its parents: of its fields, or of its functions.
local function names_of(class_name, what)
    local names = {}
    local class = assert(classes[class_name], "meta.lua has no class " .. class_name)
    while class do
        for name in pairs(class[what]) do
            names[name] = true
        end
        class = class.parent and assert(classes[class.parent], "meta.lua has no class " .. class.parent)
    end
    return names
end

-- ---------------------------------------------------------------- comparing

local function list_missing(wanted, there)
    local missing = {}
    for name in pairs(wanted) do
        if not there[name] then
            missing[#missing + 1] = name
        end
    end
    table.sort(missing)
    return table.concat(missing, ", ")
end

local function compare(class_name, what, real)
    local annotated = names_of(class_name, what)
    assert.equal("", list_missing(real, annotated), ("meta.lua lacks these %s of %s"):format(what, class_name))
    local too_much = ("meta.lua has %s of %s that do not exist"):format(what, class_name)
    assert.equal("", list_missing(annotated, real), too_much)
end

local function public(methods)
    local names = {}
    for name, value in pairs(methods) do
        if type(name) == "string" and name:sub(1, 1) ~= "_" and type(value) == "function" then
            names[name] = true
        end
    end
    return names
end

local function keys(...)
    local names = {}
    for _, values in ipairs { ... } do
        for name in pairs(values) do
            if type(name) == "string" then
                names[name] = true
            end
        end
    end
    return names
end

-- The names that the complaint about an unknown one lists: "(known: a, b, c)".
local function known(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    local names = {}
    for name in message:match("%(known: (.*)%)"):gmatch "[%w_]+" do
        names[name] = true
    end
    return names
end

-- -------------------------------------------------------------------- specs

describe("lua/tidepool/meta.lua", function()
    local db, transaction, pipeline

    setup(function()
        db = assert(tidepool.open { url = server.url(), log = { queries = false }, pool = { min = 0, max = 2 } })
        assert(db:transaction(function(tx)
            transaction = getmetatable(tx).__index
            return true
        end))
        assert(db:pipeline(function(p)
            pipeline = getmetatable(p).__index
        end))
    end)

    teardown(function()
        db:close()
    end)

    it("is Lua of every version, and nothing requires it", function()
        assert(loadfile(path))
        assert.is_nil(package.loaded["tidepool.meta"])
        local result = dofile(path)
        assert.is_table(result)
        assert.is_nil(result.open())
    end)

    it("has the functions and fields of the module", function()
        compare("tidepool", "functions", public(tidepool))
        local fields = {}
        for name, value in pairs(tidepool) do
            fields[name] = type(value) ~= "function" or nil
        end
        compare("tidepool", "fields", fields)
    end)

    it("has the methods of databases, connections, transactions, pipelines and streams", function()
        compare("tidepool.db", "functions", public(core.db_methods))
        compare("tidepool.connection", "functions", public(core.connection_methods))
        compare("tidepool.transaction", "functions", public(transaction))
        compare("tidepool.pipeline", "functions", public(pipeline))
        local _, _, _, rows = db:each "select 1"
        compare("tidepool.stream", "functions", public(assert(debug.getmetatable(rows).__index)))
        rows:close()
        local listener = assert(db:listen "meta_spec")
        compare("tidepool.listener", "functions", public(assert(debug.getmetatable(listener).__index)))
        listener:close()
    end)

    it("has the fields of notifications and of gaps", function()
        local listener = assert(db:listen("meta_spec", { limit = 1, overflow = "oldest" }))
        assert(db:notify("meta_spec", 1))
        assert(db:notify("meta_spec", 2))
        assert.is_true(server.wait(function() return db:stats().notifications == 2 end))
        compare("tidepool.note", "fields", keys(assert(listener:next(0)), assert(listener:next(0))))
        listener:close()
    end)

    it("names every parameter in order, and says what is returned", function()
        for class_name, class in pairs(classes) do
            for name, fn in pairs(class.functions) do
                local title = class_name .. "." .. name
                assert.equal(fn.has, fn.params, "the parameters of " .. title)
                local is_module = class_name == "tidepool" or class_name == "tidepool.http"
                assert.equal(not is_module, fn.is_method, title .. " is called another way")
                assert.is_true(fn.returns > 0 or title == "tidepool.stream.close", "what does " .. title .. " return?")
            end
        end
    end)

    it("uses no class that it does not have", function()
        for name in text:gmatch "%f[%w]tidepool%.([%a_]+)" do
            local is_alias = text:find("%-%-%-@alias tidepool%." .. name .. "[ \n]")
            local is_function = tidepool[name] ~= nil
            assert.is_true(classes["tidepool." .. name] ~= nil or is_alias ~= nil or is_function,
                "meta.lua uses tidepool." .. name)
        end
    end)

    it("has all options of open, in the groups that they are said in", function()
        local groups, others = {}, keys { url = 1, await = 1, libpq = 1 } -- not in the table
        for _, option in ipairs(tidepool.options()) do
            local group, name = option.name:match "^(%w+)%.(.+)$"
            others[group or option.name] = true
            if group then
                groups[group] = groups[group] or {}
                groups[group][name] = true
            end
        end
        groups.log.sink = true
        compare("tidepool.open_options", "fields", others)
        for group, names in pairs(groups) do
            compare(("tidepool.%s_options"):format(group), "fields", names)
            local kind = classes["tidepool.open_options"].fields[group]
            assert.is_truthy(kind:find(("tidepool.%s_options"):format(group), 1, true), group)
        end
    end)

    it("has the event loops, and what an adapter of the program's own needs", function()
        local needed, adapter = keys { name = 1, timers = 1, shared = 1 }, { name = "spec" }
        for _ = 1, 20 do
            local ok, message = pcall(tidepool.open, { await = adapter })
            if ok then
                break
            end
            local name = assert(message:match "no function '([%w_]+)'", message)
            needed[name] = true
            adapter[name] = function() end
        end
        compare("tidepool.adapter", "fields", needed)
        local loops = {}
        for name in classes["tidepool.open_options"].fields.await:gmatch '"(%w+)"' do
            loops[name] = true
        end
        assert.same(known(tidepool.open, { await = "unknown" }), loops)
    end)

    it("has the choices of the options that have some", function()
        for _, option in ipairs(tidepool.options()) do
            if option.choices ~= "" then
                local group, name = option.name:match "^(%w+)%.(.+)$"
                local class = classes[("tidepool.%s_options"):format(group or "open")]
                local choices = '"' .. option.choices:gsub("|", '"|"') .. '"'
                local written = class.fields[name or option.name]:gsub("|fun%(.*$", "")
                assert.equal(choices, written, option.name)
            end
        end
    end)

    it("has the options of calls, transactions and COPY", function()
        compare("tidepool.call_options", "fields", known(db.query, db, { "select 1", unknown = true }))
        compare("tidepool.listen_options", "fields", known(db.listen, db, "a", { unknown = true }))
        compare("tidepool.transaction_options", "fields", known(db.transaction, db, print, { unknown = true }))
        compare("tidepool.with_options", "fields", known(db.with, db, print, { unknown = true }))
        compare("tidepool.copy_in_options", "fields", known(db.copy_in, db, "t", {}, { unknown = true }))
        compare("tidepool.copy_out_options", "fields", known(db.copy_out, db, "t", print, { unknown = true }))
    end)

    it("has the names of events, states and kinds of errors", function()
        local function choices(what)
            local names = {}
            for name in what:gmatch '"([%w_]+)"' do
                names[name] = true
            end
            return names
        end
        local events = text:match "@alias tidepool.event_name\n(.-)\n[^\n]+@alias"
        assert.same(known(db.on, db, "unknown", print), choices(events))
        local readme = io.open((path:gsub("lua/tidepool/meta.lua$", "README.md"))):read "*a"
        local kinds = {}
        for name in readme:match("| `kind` | when |\n.-\n(.-)\n\n"):gmatch "\n?| `([%w_]+)` |" do
            kinds[name] = true
        end
        assert.same(kinds, choices(text:match "@alias tidepool.error_kind\n(.-)\n\n"))
        local states = {}
        for name in readme:match("| `db:state%(%)` | `state` %((.-)%)"):gmatch "`([%w_]+)`" do
            states[name] = true
        end
        assert.same(states, choices(text:match "@alias tidepool.state_name ([^\n]+)"))
    end)

    it("has the functions and options of tidepool.http", function()
        local http = require "tidepool.http"
        compare("tidepool.http", "functions", public(http))
        local handler = http.new { db = db }
        compare("tidepool.http_handler", "functions", public(getmetatable(handler).__index))
        local request = { method = "GET", path = "/health" }
        compare("tidepool.http_options", "fields", known(http.handle, db, request, { unknown = true }))
        compare("tidepool.http_serve_options", "fields", known(require "tidepool.http.serve".run, { unknown = true }))
    end)

    it("has the fields of results", function()
        local rows = db:query "select 1 as n"
        compare("tidepool.column", "fields", keys(rows.columns[1]))
        local stopped = assert(db:copy_out("(select generate_series(1, 100))", function() return false end))
        compare("tidepool.command", "fields", keys(stopped))
        compare("tidepool.rows", "fields", keys(rows, stopped))
    end)

    -- A transaction that its session does not survive, at COMMIT: its error, and the event that tells of it.
    local function lose_commit()
        local event
        local stop = db:on("verdict", function(told) event = told end)
        assert(db:script [[create table meta_lost (id int);
            create function meta_dies() returns trigger language plpgsql as
                'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
            create constraint trigger dies after insert on meta_lost deferrable initially deferred
                for each row execute function meta_dies()]])
        local _, err = db:transaction(function(tx) return tx:exec "insert into meta_lost values (1)" end)
        assert(db:script "drop table meta_lost; drop function meta_dies()")
        stop()
        return err, event
    end

    it("has the fields of errors", function()
        local _, raised = db:query [[select 1 from (select 1) x where not exists (select pg_sleep(0)) or 1 / 0 > 0]]
        local _, syntax = db:query "selec"
        local _, many = db:query_many("select 1 / $1::int", { { 1 }, { 0 } })
        local _, full = db:script [[do $$ begin raise exception using message = 'm', detail = 'd', hint = 'h',
            errcode = '23505', column = 'c', constraint = 'k', table = 't', schema = 's'; end $$]]
        db:suspend()
        local _, late = db:acquire(1)
        db:resume()
        compare("tidepool.error", "fields", keys(raised, syntax, many, full, late, (lose_commit()),
            { blockers = 1 })) -- only where others wait side by side: see explain_spec.lua
    end)

    it("has the fields of statistics, of the state, of events, of options and of SQLSTATEs", function()
        local stats = db:stats { buckets = true, shared = true }
        compare("tidepool.stats", "fields", keys(stats))
        compare("tidepool.closed", "fields", keys(stats.closed))
        compare("tidepool.ended_transactions", "fields", keys(stats.transactions))
        for _, name in ipairs { "wait", "connect", "query", "transaction", "held" } do
            compare("tidepool.latency", "fields", keys(stats[name]))
            compare("tidepool.bucket", "fields", keys(stats[name].buckets[1]))
        end
        db:with(function() compare("tidepool.holder", "fields", keys(db:holders()[1])) end)
        compare("tidepool.option_info", "fields", keys(tidepool.options()[1]))
        compare("tidepool.sqlstate_info", "fields", keys(tidepool.sqlstate "23505"))

        local lost = assert(tidepool.open {
            url = "postgresql://u@127.0.0.1:1/db", log = { queries = false }, breaker = { failures = 1 },
            pool = { min = 0 },
        })
        local failed, asked
        lost:on("error", function(event) failed = event end)
        lost:on("query_end", function(event) asked = event end)
        assert.is_nil((lost:query { "select 1", timeout_ms = 100 }))
        compare("tidepool.state", "fields", keys(lost:state()))
        compare("tidepool.health", "fields", keys(lost:health(100)))
        local watching = assert(tidepool.open {
            url = server.url(), log = { queries = false, parameters = true, slow_ms = 1, repeats = 1,
                sink = function() end }, pool = { min = 0, max = 1 },
        })
        local heard = {}
        for _, name in ipairs { "query_end", "slow", "repeats", "acquire", "release" } do
            watching:on(name, function(event) heard[name] = event end)
        end
        watching:with(function(conn)
            for _ = 1, 2 do assert(conn:query("select pg_sleep($1)", 0.002)) end
        end, { tags = { route = "/meta" } })
        compare("tidepool.query_event", "fields", keys(asked, heard.query_end, heard.slow))
        compare("tidepool.lease_event", "fields", keys(heard.acquire, heard.release))
        compare("tidepool.repeats_event", "fields", keys(heard.repeats))
        compare("tidepool.slow_query", "fields", keys(watching:slow_queries()[1], { plan = true }))
        watching:close()
        local connected
        db:on("notice", function(event) connected = event end)
        assert(db:script "do $$ begin raise notice 'hello'; end $$")
        assert.equal(1, db:value "select 1")
        compare("tidepool.event", "fields", keys(failed, connected, (select(2, lose_commit()))))
        lost:close()
    end)
end)

describe("the check of meta.lua", function()
    it("reads classes, parents, fields and functions", function()
        local found = parse [[
---@class a.b
---@field x? integer
local v = {}

---@param one string
---@param ... any
---@return true
function v:go(one, ...) end

---@class a.c: a.b
---@field y string # what it is
]]
        assert.equal("a.b", found["a.c"].parent)
        assert.equal("integer", found["a.b"].fields.x)
        assert.same({ params = "one, ...", has = "one, ...", returns = 1, is_method = true }, found["a.b"].functions.go)
    end)

    it("says exactly what is missing, and what is too much", function()
        local real = { name = true, oid = true, more = true, some = true }
        local ok, message = pcall(compare, "tidepool.column", "fields", real)
        assert.is_false(ok)
        assert.is_truthy(tostring(message.message or message):find("more, some", 1, true))
        ok, message = pcall(compare, "tidepool.column", "fields", { name = true })
        assert.is_false(ok)
        assert.is_truthy(tostring(message.message or message):find("oid, type", 1, true))
    end)
end)
