--- lua/bin/tidepool, run as a user runs it: what it prints, how it ends, and what it leaves behind.
local child = require "spec.support.child"
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local servers = require "spec.support.servers"

local PROGRAM = "lua/bin/tidepool"

local plain = (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") == "default"

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- The shell's words for a command. `environment` adds variables; false: the variable is not set.
local function command(words, environment)
    local parts, said = {}, { DATABASE_URL = server.url(), NO_COLOR = false, TERM = "xterm", COLUMNS = false }
    for name, value in pairs(environment or {}) do
        said[name] = value
    end
    for name, value in pairs(said) do
        table.insert(parts, value and #parts + 1 or 1, value and quote(name .. "=" .. value) or "-u " .. name)
    end
    table.insert(parts, quote(child.lua))
    table.insert(parts, PROGRAM)
    for _, word in ipairs(words) do
        table.insert(parts, quote(word))
    end
    return "env " .. table.concat(parts, " ")
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
end

-- Runs it: standard output, exit code, standard error.
local function run(words, environment, input)
    local path = os.tmpname()
    local stdin = input and ("printf %%s %s |"):format(quote(input)) or ""
    local output, code = server.sh(("%s %s 2>%s %s"):format(stdin, command(words, environment), path,
        input and "" or "</dev/null"))
    local errors = read(path)
    os.remove(path)
    return output, code, errors
end

local function good(words, environment, input)
    local output, code, errors = run(words, environment, input)
    assert.equal("", errors)
    assert.equal(0, code)
    return output
end

-- Runs it on a terminal of so many columns; `keys` are typed once the output has `shown`.
local function on_terminal(width, words, environment, keys, shown)
    -- The shell outlives the Ctrl-C that ends the program.
    local shell = ("trap : INT; stty cols %d rows 12; %s; echo code $?; stty -a")
        :format(width, command(words, environment))
    local path = os.tmpname()
    local input = "</dev/null"
    if keys then
        input = ("< <(exec 2>/dev/null; until grep -q %s %s; do sleep 0.05; done; printf %s; sleep 3)")
            :format(quote(shown), path, quote(keys))
    end
    local script = ("timeout 20 script -qefc %s %s %s >/dev/null"):format(quote(shell), path, input)
    server.sh("bash -c " .. quote(script))
    local output = read(path):gsub("^Script started[^\n]*\n", ""):gsub("\r", "")
    os.remove(path)
    local shown_text, code, modes = output:match "^(.*)code (%d+)\n(.*)$"
    assert(shown_text, output)
    return shown_text, tonumber(code), modes
end

-- Those that may still run.
local started = {}

local function end_all()
    for pid in pairs(started) do
        server.sh("kill -KILL " .. pid)
    end
    started = {}
end

-- Starts it with its output in a pipe.
local function start(words, environment)
    local pipe = assert(io.popen(("bash -c %s 2>/dev/null"):format(quote(
        ("set -m; %s 2>&1 </dev/null & echo $!; wait $!; echo code $?"):format(command(words, environment))))))
    local handle = { pid = pipe:read "*l" }
    started[handle.pid] = true
    function handle.line() return pipe:read "*l" end
    function handle.signal(name) server.sh(("kill -%s %s"):format(name, handle.pid)) end
    function handle.finish()
        local rest = pipe:read "*a"
        pipe:close()
        started[handle.pid] = nil
        local output, code = rest:match "^(.*)code (%d+)\n$"
        return assert(output, rest), tonumber(code)
    end
    return handle
end

local function running(word)
    return tonumber(server.psql(("select count(*) from pg_stat_activity where state = 'active' and query like '%%%s%%' "
        .. "and pid <> pg_backend_pid()"):format(word)))
end

portable.only_5_4("what is printed is the same on each", function()
    describe("tidepool --help", function()
        it("lists the commands and the exit codes, and each command has help with examples", function()
            local help = good { "--help" }
            assert.truthy(help:find("Exit codes:", 1, true))
            for _, name in ipairs { "health", "ping", "query", "listen", "stats", "top", "serve" } do
                assert.truthy(help:find("\n   " .. name .. " ", 1, true), name)
                local own = good { name, "--help" }
                assert.truthy(own:find("Examples:\n  tidepool " .. name, 1, true), own)
                assert.truthy(own:find("ps): leave passwords to the environment", 1, true), own)
                for line in own:gmatch "[^\n]+" do
                    assert.is_true(#line <= 120, line)
                end
            end
        end)

        it("is pointed to by whoever says something wrong, which ends with 2", function()
            for _, words in ipairs {
                {}, { "quer" }, { "query" }, { "query", "--format", "xml", "select 1" }, { "ping", "-c", "0" },
                { "query", "--timeout", "soon", "select 1" }, { "query", "--file", "/nonexistent.sql" },
                { "query", "select 1; select $1", "2" }, { "ping", "--url", "mysql://x/y" },
                { "serve", "--port", "70000" }, { "serve", "--host", "a b" }, { "serve", "--url", "mysql://x/y" },
            } do
                local output, code, errors = run(words)
                assert.equal("", output)
                assert.equal(2, code, errors)
                assert.truthy(errors:find "tidepool: ", errors)
            end
        end)

        it("says which package has argparse where it is missing", function()
            local output, code = child.run([[
                package.preload.argparse = function() error "no" end
                arg = { [0] = "lua/bin/tidepool", "query", "select 1" }
                dofile "lua/bin/tidepool"]])
            assert.equal("tidepool: argparse is missing: install Debian's lua-argparse, "
                .. "or `luarocks install argparse`\n", output)
            assert.equal(2, code)
        end)

        it("is not needed for the version", function()
            assert.equal(require("tidepool")._VERSION .. "\n", good { "--version" })
        end)
    end)
end)

local ROWS = [[select * from (values (1, 'Ada "A"', 1.50, true), (20, null, -3, false),
    (300, E'a,b\n\tc\\', null, null)) as v (id, name, amount, fine)]]

describe("tidepool query", function()
    after_each(end_all)

    it("prints a table with numbers on the right and NULL", function()
        assert.equal([[
  id | name      | amount | fine
-----+-----------+--------+------
   1 | Ada "A"   |   1.50 | t
  20 | NULL      |     -3 | f
 300 | a,b\n\tc\ |   NULL | NULL
(3 rows)
]], good { "query", "--format", "table", ROWS })
        assert.equal(" x\n---\n(0 rows)\n", good { "query", "--format", "table", "select 1 as x where false" })
        assert.equal("CREATE TABLE\n", good { "query", "--format", "table", "create temporary table t (i int)" })
    end)

    it("prints CSV where there is no terminal, with NULL and the empty text apart", function()
        assert.equal('id,name,amount,fine\r\n1,"Ada ""A""",1.50,t\r\n20,,-3,f\r\n300,"a,b\n\tc\\",,\r\n',
            good { "query", ROWS })
        assert.equal('"",\r\n', good { "query", "--no-header", "select '', null" })
    end)

    it("prints lines with tabs as COPY does", function()
        assert.equal('id\tname\tamount\tfine\n1\tAda "A"\t1.50\tt\n20\t\\N\t-3\tf\n300\ta,b\\n\\tc\\\\\t\\N\t\\N\n',
            good { "query", "--format", "tsv", ROWS })
        local controls = [[select string_agg(chr(i), '') from generate_series(1, 31) i]]
        assert.equal(server.psql("copy (" .. controls .. ") to stdout") .. "\n",
            good { "query", "--format", "tsv", "--no-header", controls })
    end)

    it("prints JSON: numbers, booleans, JSON and arrays as what they are", function()
        assert.equal('[\n{"id":1,"name":"Ada \\"A\\"","amount":1.50,"fine":true},\n'
            .. '{"id":20,"name":null,"amount":-3,"fine":false},\n'
            .. '{"id":300,"name":"a,b\\n\\tc\\\\","amount":null,"fine":null}\n]\n', good { "query", "--json", ROWS })
        assert.equal('[\n{"a":[1,null,9223372036854775807],"b":[["x \\"y\\"","NULL"],["",",{}\\\\"]],"c":[true],'
            .. '"d":{"k": [1]},"e":[{"k": 2}],"f":"NaN","g":[],"h":"2026-01-02","i":"(1,x)"}\n]\n',
            good { "query", "--json", [=[select array[1, null, 9223372036854775807] as a,
                array[['x "y"', 'NULL'], ['', ',{}\']] as b, '[0:0]={t}'::bool[] as c, '{"k": [1]}'::jsonb as d,
                array['{"k": 2}'::json] as e, 'NaN'::float8 as f, '{}'::int[] as g, date '2026-01-02' as h,
                row(1, 'x') as i]=] })
        assert.equal("[]\n", good { "query", "--json", "select 1 as x where false" })
        assert.equal('{"command":"CREATE TABLE","count":0}\n',
            good { "query", "--json", "create temporary table t (i int)" })
    end)

    it("takes parameters behind the text, also NULL and what begins with -", function()
        assert.equal("6,t,a'b\r\n", good { "query", "--no-header", "--null", "none",
            "select $1::int + 1, $2::text is null, $3", "5", "none", "a'b" })
        assert.equal("-4\r\n", good { "query", "--no-header", "select $1::int", "--", "-4" })
    end)

    it("runs scripts statement by statement, from a file and from standard input", function()
        local script = "create temporary table t (i int); -- one; two\n"
            .. "insert into t select generate_series(1, 3);\n select count(*) from t;; select 'a;b' as s;"
        local shown = 'count\r\n3\r\ns\r\na;b\r\n'
        assert.equal(shown, good({ "query", "-" }, nil, script))
        local path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write("\239\187\191" .. script) -- as some editors begin what they save
        file:close()
        assert.equal(shown, good { "query", "--file", path })
        os.remove(path)
    end)

    it("keeps what came before an error, or nothing with --single-transaction", function()
        server.psql "drop table if exists cli_kept; create table cli_kept (i int)"
        local script = "insert into cli_kept values (1); select 1/0; insert into cli_kept values (2)"
        local _, code, errors = run { "query", script }
        assert.equal(1, code)
        assert.truthy(errors:find("tidepool: database error 22012 (division_by_zero)", 1, true), errors)
        assert.equal("1", server.psql "select string_agg(i::text, ' ') from cli_kept")
        assert.equal(1, select(2, run { "query", "--single-transaction", script }))
        assert.equal("1", server.psql "select string_agg(i::text, ' ') from cli_kept")
        good { "query", "--single-transaction", "insert into cli_kept values (3); insert into cli_kept values (4)" }
        assert.equal("1 3 4", server.psql "select string_agg(i::text, ' ') from cli_kept")
        _, code, errors = run { "query", "--read-only", "delete from cli_kept" }
        assert.equal(1, code)
        assert.truthy(errors:find("25006", 1, true), errors)
        server.psql "drop table cli_kept"
    end)

    it("shows where in the text an error is, in characters", function()
        local _, code, errors = run { "query", "select 'é漢',\n    nonsense as x" }
        assert.equal(1, code)
        assert.truthy(errors:find("\nline 2:     nonsense as x\n            ^\n", 1, true), errors)
        _, _, errors = run { "query", "select '漢', nonsense" }
        assert.truthy(errors:find("\nline 1: select '漢', nonsense\n" .. (" "):rep(21) .. "^\n", 1, true), errors)
    end)

    it("shows what else the server says of an error, once", function()
        local _, _, errors = run { "query",
            "do $$ begin raise exception 'no' using detail = 'Of it.', hint = 'Try.'; end $$" }
        assert.matches("raise_exception%): no\ndetail: Of it%.\nhint: Try%.\nwhere: ", errors)
    end)

    it("ends with 3 where nothing can be connected to, and names no password", function()
        local url = "postgresql://me:s3cretword@127.0.0.1:1/x"
        local _, code, errors = run { "query", "--url", url, "select 1" }
        assert.equal(3, code)
        assert.truthy(errors:find("Connection refused", 1, true), errors)
        assert.falsy(errors:find("s3cretword", 1, true))
        _, code = run({ "query", "select 1" }, { DATABASE_URL = server.url { tcp = true, password = "s3cretword" } })
        assert.equal(3, code)
        _, code, errors = run({ "query", "select 1" }, { DATABASE_URL = false })
        assert.equal(3, code)
        assert.truthy(errors:find("not_configured", 1, true), errors)
    end)

    it("ends with 4 when a statement takes longer than --timeout", function()
        local began = server.now()
        assert.equal(4, select(2, run { "query", "--timeout", "0.2", "select pg_sleep(10)" }))
        assert.is_true(server.now() - began < 5000)
    end)

    it("streams in constant memory", function()
        local handle = start { "query", "select i, repeat('x', 1000) from generate_series(1, 30000) as i" }
        for _ = 1, 29000 do handle.line() end
        local most = tonumber(read(("/proc/%s/status"):format(handle.pid)):match "VmHWM:%s*(%d+) kB")
        local _, code = handle.finish()
        assert.equal(0, code)
        if plain then
            assert.is_true(most < 20000, most .. " kB for 30 MB of output")
        end
    end)

    it("ends without a word when nobody reads on", function()
        local words = command { "query", "select i, repeat('x', 100) from generate_series(1, 1000000) as i" }
        assert.equal("i,repeat\r\n", (server.sh(words .. " | head -n 1")))
        local output = server.sh(("bash -c %s"):format(quote(
            ("trap '' PIPE; %s | head -n 1; echo ${PIPESTATUS[0]}"):format(words))))
        assert.equal("i,repeat\r\n141\n", output)
    end)

    it("says that the output could not be written", function()
        for _, words in ipairs { { "query", "select 1" }, { "--help" }, { "query", "--help" } } do
            local output, code = server.sh(command(words) .. " >/dev/full")
            assert.equal(5, code, words[1])
            assert.truthy(output:find("cannot write the output", 1, true), output)
        end
    end)

    for _, format in ipairs { "csv", "table" } do
        it("is ended by Ctrl-C with 130, and the statement is cancelled (" .. format .. ")", function()
            local handle = start { "query", "--format", format, "select pg_sleep(60), 'cli_" .. format .. "'" }
            assert.is_true(server.wait(function() return running("cli_" .. format) == 1 end))
            handle.signal "INT"
            local output, code = handle.finish()
            assert.equal(130, code)
            assert.equal("", output)
            assert.equal(0, running("cli_" .. format))
        end)
    end

    it("cuts long cells to the terminal's width, counting places and not bytes", function()
        local sql = "select repeat('é', 50) as a, 1 as b, repeat('漢', 50) as c, null as d"
        local shown = on_terminal(40, { "query", sql }, { NO_COLOR = "1" })
        assert.equal(" a            | b | c            | d\n"
            .. "--------------+---+--------------+------\n"
            .. " ééééééééééé… | 1 | 漢漢漢漢漢…  | NULL\n(1 row)\n", shown)
    end)

    it("has colours on a terminal only, and not with NO_COLOR", function()
        local words = { "query", "select null as a" }
        assert.truthy(on_terminal(40, words):find "\27%[2mNULL\27%[0m")
        assert.falsy(on_terminal(40, words, { NO_COLOR = "1" }):find "\27")
        assert.falsy(good { "query", "--format", "table", "select null as a" }:find "\27")
    end)

    it("shows no control character of a cell on the terminal", function()
        assert.equal(" a\n" .. ("-"):rep(26) .. "\n \\x1B[31mred\\x07\\u009Bx\\r\n(1 row)\n",
            good { "query", "--format", "table", "select E'\\x1b[31mred\\x07\\u009bx\\r' as a" })
    end)
end)

describe("tidepool ping", function()
    after_each(end_all)

    it("says how long each answer took, and sums up", function()
        local output = good { "ping", "-c", "3", "--interval", "0.01" }
        local answers = ("answer %d: [%d.]+ ms\n"):rep(3)
        assert.truthy(output:find("^" .. answers .. "3 sent, 3 answered, 0 %% lost\n"), output)
        local json = good { "ping", "-c", "1", "--json" }
        assert.truthy(json:find '^{"ms":[%d.]+,"sequence":1}\n{"answered":1,.*"sent":1}\n$', json)
    end)

    it("sums up when it is ended by Ctrl-C", function()
        local handle = start { "ping", "--interval", "60" }
        assert.truthy(handle.line():find "^answer 1: ")
        handle.signal "INT"
        local output, code = handle.finish()
        assert.truthy(output:find "^1 sent, 1 answered, 0 %% lost\n", output)
        assert.equal(0, code)
    end)

    it("ends with 3 where nothing can be connected to", function()
        assert.equal(3, select(2, run { "ping", "--url", "postgresql://127.0.0.1:1/x" }))
    end)
end)

-- A backend that waits for a lock, and the one that has it; fn(pid of the holder, pid of the waiter).
local function with_blocked(fn)
    server.psql "drop table if exists cli_lock; create table cli_lock (i int)"
    local holder = start { "query", "begin; lock table cli_lock; select pg_sleep(60), 'cli_holder'; commit" }
    assert.is_true(server.wait(function() return running "cli_holder" == 1 end))
    local waiter = start { "query", "select 'cli_waiter' from cli_lock" }
    assert.is_true(server.wait(function() return running "cli_waiter" == 1 end))
    local ok, err = pcall(fn)
    waiter.signal "INT"
    holder.signal "INT"
    waiter.finish()
    holder.finish()
    server.psql "drop table cli_lock"
    assert(ok, err)
end

describe("tidepool top", function()
    after_each(end_all)

    it("shows who waits for what and who blocks whom; q ends it and the terminal is as before", function()
        with_blocked(function()
            local output = good { "top", "--once" }
            local pid = output:match "(%d+) %S+ +%S+ +tidepool query +active [^\n]*cli_holder"
            assert.truthy(pid, output)
            assert.truthy(output:find("Lock:relation +" .. pid .. " +select 'cli_waiter' from cli_lock\n"), output)
            assert.truthy(good { "top", "--json" }:find('"blocked_by":[' .. pid .. "]", 1, true))

            local screen, code, modes = on_terminal(100, { "top", "--interval", "0.1" }, nil, "q", "cli_waiter")
            assert.equal(0, code)
            assert.truthy(screen:find("connections 2 of %d+: 2 active, [^\n]*; 1 wait for locks"), screen)
            assert.truthy(screen:find "\27%[%?1049l$", screen)
            assert.truthy(modes:find "[ ;]icanon", modes)
            assert.truthy(modes:find "[ ;]echo ", modes)
            for line in screen:gsub("\27%[[%d;?]*%a", ""):gmatch "[^\n]+" do
                assert.is_true(#line <= 102, line) -- "…" has three bytes
            end
        end)
    end)

    it("is ended by Ctrl-C, and the terminal is as before", function()
        local screen, code, modes = on_terminal(80, { "top" }, nil, "\\003", "PID")
        assert.equal(130, code)
        assert.truthy(screen:find "\27%[%?1049l", screen)
        assert.truthy(modes:find "[ ;]icanon", modes)
    end)
end)

portable.only_5_4("what is printed is the same on each", function()
    describe("tidepool stats", function()
        it("shows the server, the connections and the database", function()
            local output = good { "stats" }
            assert.truthy(output:find("^server +PostgreSQL %d+[^\n]*, up "), output)
            assert.truthy(output:find("\nconnections +%d+ of %d+: %d+ active"), output)
            assert.truthy(output:find("\ntransactions +[%d,]+ committed, [%d,]+ rolled back"), output)
            local json = good { "stats", "--json" }
            assert.equal(server.psql "show max_connections", json:match '"max_connections":(%d+)')
            assert.truthy(json:find('"database":"' .. server.database .. '"', 1, true), json)
        end)

        it("shows what pools have counted that share their statistics, and counts nothing itself", function()
            local budget = ("cli_spec-%d"):format(server.port)
            local words = { "stats", "--json", "--budget", budget }
            assert.truthy(good(words):find('"pools":null', 1, true))
            local pool = { min = 0, max = 1, max_total = 2, budget = budget }
            local db = assert(tidepool.open { url = server.url(), log = { queries = false }, pool = pool })
            for i = 1, 7 do assert(db:value("select $1::int", i)) end
            assert(db:query "selekt" == nil)
            db:stats { shared = true } -- publishes at once what is counted
            for _ = 1, 2 do
                local json = good(words)
                assert.equal("8", json:match '"queries":(%d+)', json)
                assert.equal("1", json:match '"processes":(%d+)', json)
            end
            local shown = good { "stats", "--budget", budget }
            assert.truthy(shown:find("\npools +of 1 process, 1 connections: 0 active, 1 idle"), shown)
            assert.truthy(shown:find("\nqueries +8, 1 failed"), shown)
            db:close()
        end)

        it("shows the statements that took most time where pg_stat_statements is loaded", function()
            local available = "select count(*) from pg_available_extensions where name = 'pg_stat_statements'"
            if server.psql(available) == "0" then
                pending "the extension pg_stat_statements is not installed"
                return
            end
            local loaded = servers.start { shared_preload_libraries = "pg_stat_statements" }
            local environment = { DATABASE_URL = loaded:url() }
            local before = good({ "stats", "--json" }, environment)
            loaded:psql 'create schema "An odd one"; create extension pg_stat_statements schema "An odd one"'
            loaded:psql "select 'cli_statement', pg_sleep(0.2)"
            local json = good({ "stats", "--json", "--statements", "1" }, environment)
            local shown = good({ "stats" }, environment)
            loaded:stop()
            assert.truthy(before:find('"statements":null', 1, true), before)
            assert.truthy(json:find('"statements":[{"calls":1,"mean_ms":2', 1, true), json)
            assert.truthy(shown:find("\n +1 | +2%d%d.%d | +2%d%d.%d%d%d | +1 | select $1, pg_sleep%($2%)\n"), shown)
        end)
    end)
end)


describe("tidepool health", function()
    it("ends with 0 when the database can be worked with", function()
        assert.truthy(good({ "health" }):find "^healthy, [%d.]+ ms with connecting\n$")
        local json = good { "health", "--json" }
        assert.truthy(json:find('"reasons":[],"state":"connected","status":"healthy"}\n', 1, true), json)
    end)

    it("says why it is not, and ends with 3 when nothing can be connected to", function()
        local output, code, errors = run { "health", "--url", "postgresql://me:s3cretword@127.0.0.1:1/x" }
        assert.equal(3, code)
        assert.truthy(output:find "^unhealthy, [^\n]*\n  the server does not answer: connection\n$", output)
        assert.truthy(errors:find("Connection refused", 1, true), errors)
        output, code = run({ "health", "--json" }, { DATABASE_URL = false })
        assert.equal(3, code)
        assert.truthy(output:find('"status":"unhealthy"', 1, true), output)
    end)
end)

describe("tidepool listen", function()
    after_each(end_all)

    local function listening(handle)
        return server.wait(function()
            return server.psql("select count(*) from pg_stat_activity "
                .. "where application_name = 'tidepool listen' and query ilike 'listen%'") == "1"
        end) and handle
    end

    it("prints notifications as they come, and ends when there were as many as asked for", function()
        local handle = listening(start { "listen", "cli_a", "cli B", "--count", "2" })
        server.psql [[notify cli_a, E'one\ntwo']]
        server.psql [[notify "cli B"]]
        local output, code = handle.finish()
        assert.equal(0, code, output)
        assert.truthy(output:find "^%d%d:%d%d:%d%d cli_a %d+ one\\ntwo\n%d%d:%d%d:%d%d cli B %d+ \n$", output)
    end)

    it("prints each as a JSON object, and what may be missing on standard error", function()
        local handle = listening(start { "listen", "--json", "cli_a", "--count", "1" })
        server.terminate "tidepool listen"
        assert.equal("tidepool: notifications may be missing here: lost", handle.line())
        server.psql [[notify cli_a, '"x"']]
        local output, code = handle.finish()
        assert.equal(0, code, output)
        local object = '^{"backend_pid":%d+,"channel":"cli_a","payload":"\\"x\\"","time":"[%dTZ:-]+"}\n$'
        assert.truthy(output:find(object), output)
    end)

    it("ends with 4 when time is up, and with 130 by Ctrl-C", function()
        assert.equal(4, select(2, run { "listen", "cli_a", "--timeout", "0.2" }))
        local handle = listening(start { "listen", "cli_a" })
        handle.signal "INT"
        assert.equal(130, select(2, handle.finish()))
    end)
end)

describe("tidepool serve", function()
    after_each(end_all)

    it("is ended by a signal that comes before nginx runs", function()
        local folder = server.sh "mktemp -d":gsub("%s", "")
        finally(function() server.sh("rm -rf " .. folder) end)
        local program = assert(io.open(folder .. "/openresty", "w"))
        program:write("#!/bin/sh\n", 'case $1 in -V) echo >"$0.asked"; sleep 1; ',
            'echo "nginx version: --add-module=lua";; *) exec sleep 60;; esac\n')
        program:close()
        server.sh(("chmod 755 %s/openresty"):format(folder))
        local handle = start({ "serve" }, { PATH = folder .. ":" .. os.getenv "PATH", TMPDIR = folder })
        assert.is_true(server.wait(function() return io.open(folder .. "/openresty.asked") ~= nil end, 5000))
        handle.signal "TERM"
        assert.equal(143, select(2, handle.finish()))
    end)
end)

describe("the places that a text takes", function()
    local width = require("tidepool.cli.text").width

    it("are two for wide characters, and none for marks on others", function()
        for text, places in pairs {
            [""] = 0, abc = 3, ["é"] = 1, ["e\204\129"] = 1, ["漢字"] = 4, ["한글"] = 4, ["ｆ"] = 2, ["…"] = 1,
            ["✅"] = 2, ["⚡"] = 2, ["🟢"] = 2, ["🪐"] = 2, ["👍"] = 2, ["→"] = 1, ["สวัสดี"] = 4, ["שָׁלוֹם"] = 4,
        } do
            assert.equal(places, width(text), text)
        end
    end)
end)

describe("the statements of a script", function()
    local split = require("tidepool.cli.sql").split

    it("end at semicolons, but not within texts, comments, parentheses and bodies of functions", function()
        for script, statements in pairs {
            [""] = {}, [" ; ;-- x\n/* ; */"] = {}, ["select 1"] = { "select 1" },
            ["a;b ; c;"] = { "a", "b", "c" },
            ["select ';', \"a;b\", 'it''s;'; x"] = { "select ';', \"a;b\", 'it''s;'", "x" },
            [ [[select E'\';', e'\\'; x]] ] = { [[select E'\';', e'\\']], "x" },
            [ [[select 'a\'; x]] ] = { [[select 'a\']], "x" },
            ["select $$;$$, $a$ ; $$ ; $a$; select $1; x"] = { "select $$;$$, $a$ ; $$ ; $a$", "select $1", "x" },
            ["a /* ; /* ; */ ; */ b; -- ;\nc"] = { "a /* ; /* ; */ ; */ b", "-- ;\nc" },
            ["create rule r as on insert to t do (a; b); c"] = { "create rule r as on insert to t do (a; b)", "c" },
            ["create function f() begin atomic select case when true then 1 end; select 2; end; x"] =
                { "create function f() begin atomic select case when true then 1 end; select 2; end", "x" },
            ["begin; select 1; end; x"] = { "begin", "select 1", "end", "x" },
            ["select 'open; x"] = { "select 'open; x" },
        } do
            assert.same(statements, split(script))
        end
    end)
end)
