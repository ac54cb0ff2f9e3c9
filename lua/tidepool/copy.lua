--- COPY: db:copy_in and db:copy_out, also of connections and transactions.
--
-- What is copied is said in SQL: "users", "users(id, name)", "(select ...)" or a whole COPY statement. This module
-- makes the statements of it: the COPY itself, and one that returns the same columns, for their names and types.
-- @module tidepool.copy
local compat = require "tidepool.compat"
local failure = require "tidepool.failure"

local pcall = compat.pcall -- the program's functions are called under it, and may yield

local M = { methods = {} }

-- ---------------------------------------------------------------------- SQL

-- Where a token ends that begins at `at`, and what it is: "word", "(", ")", "space" or "other".
local function token(sql, at)
    local _, stop = sql:find("^%s+", at)
    if stop then
        return stop, "space"
    end
    _, stop = sql:find("^%-%-[^\n]*", at)
    if stop then
        return stop, "space"
    end
    _, stop = sql:find("^[eE]'", at)
    if stop then -- a backslash takes the next byte with it
        repeat
            local before = stop
            _, stop = sql:find("^[^'\\]*\\.", stop + 1)
            stop = stop or before
        until stop == before
        _, stop = sql:find("'", stop + 1, true)
        return stop or #sql, "other"
    end
    _, stop = sql:find("^'[^']*'?", at)
    if stop then
        return stop, "other"
    end
    _, stop = sql:find('^"[^"]*"?', at)
    if stop then
        return stop, "other"
    end
    local _, tag_stop, tag = sql:find("^(%$[%a_\128-\255]*[%w_\128-\255]*%$)", at)
    if tag then
        _, stop = sql:find(tag, tag_stop + 1, true)
        return stop or #sql, "other"
    end
    _, stop = sql:find("^[%a_\128-\255][%w_$\128-\255]*", at)
    if stop then
        return stop, "word"
    end
    local byte = sql:sub(at, at)
    return at, (byte == "(" or byte == ")") and byte or "other"
end

-- A comment in /* */, which may have others in it; nil when none begins there.
local function comment_end(sql, at)
    if sql:sub(at, at + 1) ~= "/*" then
        return nil
    end
    local depth = 1
    at = at + 2
    while depth > 0 do
        local start, _, mark = sql:find("([/*][*/])", at)
        if not start then
            return #sql
        elseif mark == "/*" or mark == "*/" then
            depth = depth + (mark == "/*" and 1 or -1)
            at = start + 2
        else
            at = start + 1
        end
    end
    return at - 1
end

-- The tokens of an SQL text that are not space: {kind =, text =, start =, stop =, depth =}. A word's text is in
-- capitals; depth is that of parentheses around it.
local function tokens_of(sql)
    local list, at, depth = {}, 1, 0
    while at <= #sql do
        local stop, kind = comment_end(sql, at), "space"
        if not stop then
            stop, kind = token(sql, at)
        end
        if kind == ")" then
            depth = depth - 1
        end
        if kind ~= "space" then
            local text = sql:sub(at, stop)
            list[#list + 1] = {
                kind = kind, text = kind == "word" and text:upper() or text, start = at, stop = stop, depth = depth,
            }
        end
        if kind == "(" then
            depth = depth + 1
        end
        at = stop + 1
    end
    return list
end

-- Finds "FROM STDIN" or "TO STDOUT" outside of parentheses: the position of the first word among the tokens.
local function find_direction(tokens)
    for i = 2, #tokens - 1 do
        local here, behind = tokens[i], tokens[i + 1]
        if here.kind == "word" and here.depth == 0 and behind.kind == "word" then
            if here.text == "FROM" and behind.text == "STDIN" then
                return i, "in"
            elseif here.text == "TO" and behind.text == "STDOUT" then
                return i, "out"
            end
        end
    end
    return nil
end

-- The text of the tokens, with a space for whatever is between two of them.
local function without_comments(sql, tokens)
    local words = {}
    for i, at in ipairs(tokens) do
        local gap = i > 1 and at.start > tokens[i - 1].stop + 1
        words[i] = (gap and " " or "") .. sql:sub(at.start, at.stop)
    end
    return table.concat(words)
end

-- What of a COPY's columns can be asked: of "t", {table = "t"}; of "t(a, b)" and "(query)", {columns = statement}.
local function columns_of(what)
    local tokens = tokens_of(what)
    local first, last = tokens[1], tokens[#tokens]
    if not first then
        return nil
    elseif first.kind == "(" then
        if last.kind == ")" and last.depth == 0 then
            return { columns = what:sub(first.stop + 1, last.start - 1) }
        end
        return nil
    end
    for _, at in ipairs(tokens) do
        if at.kind == "(" then
            local list = what:sub(at.stop + 1, last.start - 1)
            return last.kind == ")" and { columns = ("SELECT %s\nFROM %s"):format(list, what:sub(1, at.start - 1)) }
        end
    end
    return { table = without_comments(what, tokens) }
end

-- Whether rows can be made of the data of a COPY with these options behind STDIN or STDOUT: those that change how a
-- value is written cannot be followed.
local function has_plain_options(tokens, from)
    local known = {
        WITH = true, BINARY = true, FORMAT = true, TEXT = true, FREEZE = true, TRUE = true, FALSE = true, ON = true,
        OFF = true, ["("] = true, [")"] = true, [","] = true, [";"] = true, ["'text'"] = true, ["'binary'"] = true,
        ['"text"'] = true, ['"binary"'] = true,
    }
    for i = from, #tokens do
        local text = tokens[i].text
        if text == "WHERE" then
            return true
        elseif not known[text] then
            return false
        end
    end
    return true
end

-- ------------------------------------------------------------------ options

local function is_boolean(value)
    return type(value) == "boolean"
end

local function is_text(value)
    return type(value) == "string"
end

local formats = { text = true, binary = true, csv = true }

-- Of each option: what its value is, what is said of another, and whether it changes how ready data is written.
local checks = {
    format = { function(value) return formats[value] end, 'must be "text", "binary" or "csv"' },
    raw = { is_boolean, "must be a boolean" },
    timeout_ms = {
        function(value) return type(value) == "number" and value >= 0 end,
        "must be milliseconds",
    },
    progress = { function(value) return type(value) == "function" end, "must be a function" },
    as = { function(value) return value == "rows" or value == "arrays" end, 'must be "rows" or "arrays"', out = true },
    nulls = { is_boolean, "must be a boolean", out = true },
    numbers = { is_boolean, "must be a boolean", out = true },
    header = { is_boolean, "must be a boolean", written = true },
    delimiter = { is_text, "must be a string", written = true },
    null = { is_text, "must be a string", written = true },
    quote = { is_text, "must be a string", written = true },
    escape = { is_text, "must be a string", written = true },
    encoding = { is_text, "must be a string", written = true },
}
local written = { "header", "delimiter", "null", "quote", "escape", "encoding" }

-- Checks what a method was called with; what is wrong is its caller's mistake (level 4).
local function check_options(options, method)
    for name, value in pairs(options) do
        local rule = checks[name]
        if not rule or (rule.out and method ~= "copy_out") then
            failure.misuse("unknown option '%s' of %s (known: format, raw, timeout_ms, progress, header, delimiter, "
                .. "null, quote, escape, encoding%s)", tostring(name), method,
                method == "copy_out" and ", as, nulls, numbers" or "")
        elseif not rule[1](value) then
            failure.misuse("option '%s' of %s %s", name, method, rule[2])
        elseif rule.written and not options.raw then
            failure.misuse("option '%s' of %s needs raw = true: how rows are written is not the program's business",
                name, method)
        end
    end
    if options.format == "csv" and not options.raw then
        failure.misuse('format = "csv" of %s needs raw = true', method)
    end
end

local function literal(value)
    if type(value) == "boolean" then
        return tostring(value)
    end
    return "E'" .. value:gsub("[\\']", "%0%0") .. "'"
end

-- What stands behind STDIN or STDOUT.
local function with(options, format)
    local words = {}
    if format ~= "text" then
        words[1] = "FORMAT " .. format
    end
    for _, name in ipairs(written) do
        if options[name] ~= nil then
            words[#words + 1] = ("%s %s"):format(name:upper(), literal(options[name]))
        end
    end
    return #words > 0 and (" WITH (%s)"):format(table.concat(words, ", ")) or ""
end

-- --------------------------------------------------------------------- plans

local ends = { ["in"] = "FROM STDIN", out = "TO STDOUT" }

-- A whole COPY statement.
local function plan_statement(sql, tokens, at, options, method)
    for _, name in ipairs { "format", compat.unpack(written) } do
        if options[name] ~= nil then
            failure.misuse("option '%s' of %s and a whole COPY statement do not go together", name, method)
        end
    end
    if options.raw then
        return {}
    elseif not has_plain_options(tokens, at + 2) then
        failure.misuse("%s: a COPY statement with such options needs raw = true", method)
    end
    return columns_of(sql:sub(tokens[1].stop + 1, tokens[at].start - 1)) or {}
end

-- What a query begins with, and no table that is not quoted.
local bare = { SELECT = true, WITH = true, TABLE = true }

-- Returns the plan of copy.h and the COPY statement.
local function plan_of(what, options, direction, method)
    local tokens = tokens_of(what)
    if tokens[1] and tokens[1].text == "COPY" then
        local at, found = find_direction(tokens)
        if at and found ~= direction then
            failure.misuse("%s takes COPY ... %s", method, ends[direction])
        elseif at then
            return plan_statement(what, tokens, at, options, method), what
        end
    end
    if direction == "out" and tokens[1] and bare[tokens[1].text] then
        failure.misuse("%s: a query has to stand in parentheses, got '%s'", method, what)
    end
    local format = options.format or "text"
    local statement = ("COPY %s %s"):format(what, ends[direction])
    if options.raw then
        return {}, statement .. with(options, format)
    end
    local plan = columns_of(what)
    if not plan then
        failure.misuse("%s: a table, a table with columns%s or a COPY statement expected, got '%s'", method,
            direction == "out" and ", a query in parentheses" or "", what)
    end
    plan.binary_sql = format == "binary" and statement .. " WITH (FORMAT binary)" or nil
    return plan, statement
end

-- Checks the arguments that both methods have, and makes the plan.
local function prepare(what, options, direction, method)
    if type(what) ~= "string" then
        failure.misuse("%s: SQL text expected, got %s", method, type(what))
    elseif options ~= nil and type(options) ~= "table" then
        failure.misuse("%s: a table of options expected, got %s", method, type(options))
    elseif what:find("\0", 1, true) then
        failure.misuse("%s: the SQL text has a NUL byte", method)
    end
    options = options or {}
    check_options(options, method)
    local plan, sql = plan_of(what, options, direction, method)
    plan.into = direction == "in"
    for _, name in ipairs { "raw", "timeout_ms", "progress", "as", "nulls", "numbers" } do
        plan[name] = options[name]
    end
    return plan, sql
end

local function is_file(value)
    return io.type(value) ~= nil
end

-- The same options with raw set, for a file, which has ready data only.
local function of_file(options, method)
    local copy = { raw = true }
    for name, value in pairs(type(options) == "table" and options or {}) do
        copy[name] = value
    end
    if copy.raw ~= true then
        failure.misuse("%s: a file has raw data", method)
    end
    return copy
end

-- ------------------------------------------------------------------ running

-- A COPY under way is in `run`: copy (the object of lua/binding/copy.h), raw, progress, told (the bytes of which
-- progress has been told last). The functions below call the program's, under one pcall, and set there
--   stopped     how many rows the sink has got when it had enough
--   refused     why the COPY is to fail
--   gave_up     the error that copy_in or copy_out is to return besides

local CHUNK = 65536

local function tell(run, rows, bytes, is_end)
    local fresh = bytes - run.told
    if run.progress and (fresh >= CHUNK or (is_end and fresh > 0)) then
        run.told = bytes
        if run.raw then
            run.progress(nil, bytes)
        else
            run.progress(rows, bytes)
        end
    end
end

-- The program's function has returned this with nil.
local function give_up(run, why)
    if failure.is(why) then
        run.gave_up = why
    else
        run.refused = "the program's function failed: " .. tostring(why)
        run.gave_up = failure.new("validation", run.refused)
    end
end

-- Sends what was collected. False: the server takes no more of it.
local function send(run, is_end)
    local copy = run.copy
    local good, more, rows, bytes
    repeat
        good, rows, bytes, more = copy:_send(is_end)
        if good then
            tell(run, rows, bytes, is_end and not more)
        end
    until not (good and more)
    return good
end

-- Calls the source until its end: rows, or strings of ready data.
local function send_all(run, source)
    local put = run.copy:_writer(run.raw and "text" or "row")
    while true do
        local item, why = source()
        if item == nil then
            if why ~= nil then
                return give_up(run, why)
            end
            return send(run, true)
        elseif put(item) and not send(run) then
            return
        end
    end
end

local function send_list(run, list)
    local put = run.copy:_writer "list"
    while put(list) do
        if not send(run) then
            return
        end
    end
    send(run, true)
end

local function send_string(run, text)
    run.copy:_writer "text"(text)
    send(run, true)
end

local function receive_rows(run, sink)
    local copy, list, before = run.copy, {}, 0
    local got, rows, bytes = copy:_next(list)
    while got do
        for i = 1, rows - before do
            local answer, why = sink(list[i])
            if answer == false then
                run.stopped = before + i
                return
            elseif answer == nil and why ~= nil then
                return give_up(run, why)
            end
        end
        before = rows
        tell(run, rows, bytes)
        got, rows, bytes = copy:_next(list)
    end
    if got == false then
        tell(run, rows, bytes, true)
    end
end

local function receive_strings(run, sink)
    local copy = run.copy
    local text, rows, bytes = copy:_next()
    while text do
        local answer, why = sink(text)
        if answer == false then
            run.stopped = rows
            return
        elseif answer == nil and why ~= nil then
            return give_up(run, why)
        end
        tell(run, rows, bytes)
        text, rows, bytes = copy:_next()
    end
    if text == false then
        tell(run, rows, bytes, true)
    end
end

local function receive_file(run, file)
    local ok, why
    local function write(text)
        ok, why = file:write(text)
        return ok and true or false
    end
    receive_strings(run, write)
    if run.stopped then
        run.stopped, run.refused = nil, "the file could not be written: " .. why
    end
end

-- An end that could not be waited for leaves the connection in the middle of the COPY: it is given up.
local function ended(copy, ...)
    copy:_give_up()
    return ...
end

-- Begins, calls fn(run, ...) with the source or the sink, and ends.
local function execute(self, sql, plan, fn, program)
    local copy, err = self:_copy(sql, plan)
    if not copy then
        return nil, err
    end
    local run = { copy = copy, raw = plan.raw, progress = plan.progress, told = 0 }
    local ok, raised = pcall(fn, run, program)
    if not ok then
        ended(copy, copy:_fail())
        error(raised, 0)
    elseif run.gave_up then
        ended(copy, copy:_fail(run.refused))
        return nil, run.gave_up
    elseif run.refused then
        return ended(copy, copy:_fail(run.refused))
    end
    return ended(copy, copy:_finish(run.stopped))
end

-- ------------------------------------------------------------------- methods

--- db:copy_in(target, source, options): stores rows by COPY ... FROM STDIN.
-- @param target "users", "audit.users(id, name)" or a whole COPY statement
-- @param source a list of rows or a function that returns the next one, nil at the end; a row is a list by position or
-- a table by column name. With raw = true: COPY data as a string, a function that returns strings, or an open file
-- @param options format = "text", "binary" or (raw) "csv"; raw; timeout_ms; progress = function(rows, bytes); with
-- raw also header, delimiter, null, quote, escape and encoding, as in SQL
-- @return {count =, command = "COPY"}, or nil and an error; then nothing is stored
function M.methods.copy_in(self, target, source, options)
    if is_file(source) then
        options = of_file(options, "copy_in")
        local file = source
        source = function() return file:read(65536) end
    end
    local plan, sql = prepare(target, options, "in", "copy_in")
    local kind = type(source)
    if plan.raw and kind ~= "string" and kind ~= "function" then
        failure.misuse("copy_in: a string, a function or a file expected as raw data, got %s", kind)
    elseif not plan.raw and kind ~= "table" and kind ~= "function" then
        failure.misuse("copy_in: a list of rows or a function expected, got %s%s", kind,
            kind == "string" and " (ready COPY data needs raw = true)" or "")
    end
    local fn = kind == "string" and send_string or kind == "table" and send_list or send_all
    return execute(self, sql, plan, fn, source)
end

--- db:copy_out(source, sink, options): reads rows by COPY ... TO STDOUT.
-- @param source "users", "users(id, name)", "(select ...)" or a whole COPY statement
-- @param sink a function that is called with each row; when it returns false, that was enough. With raw = true it gets
-- COPY data as strings, as they come. Or an open file, which COPY data is written to
-- @param options as of copy_in; and as = "arrays" (default) or "rows", nulls and numbers as in a query
-- @return {count =, command = "COPY"}, with stopped = true when the sink had enough; or nil and an error
function M.methods.copy_out(self, source, sink, options)
    local to_file = is_file(sink)
    if to_file then
        options = of_file(options, "copy_out")
        if io.type(sink) == "closed file" then
            failure.misuse("copy_out: the file is closed")
        end
    elseif type(sink) ~= "function" then
        failure.misuse("copy_out: a function or a file expected, got %s", type(sink))
    end
    local plan, sql = prepare(source, options, "out", "copy_out")
    local fn = to_file and receive_file or plan.raw and receive_strings or receive_rows
    return execute(self, sql, plan, fn, sink)
end

return M
