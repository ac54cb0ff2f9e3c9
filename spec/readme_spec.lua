--- README.md: its Lua blocks run and print what they say, its names exist, and nothing public is missing from it.
--
-- A block runs as it is, in an environment and a schema of its own, against the throwaway server.
--   print(x) --> value          what this line prints; tabs count as blanks, "..." stands for any text
--   local x = call() --> value  what x is
--   end)) --> value             what the print that this line ends prints
--   --> value                   alone on a line: what the print before prints next
-- Only Lua 5.4: its programs are written for that one.
local core = require "tidepool.core"
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local readme_options = require "spec.support.readme_options"
local server = require "spec.support.server"

local closing = portable.closing

local root = debug.getinfo(1, "S").source:match("^@(.-)spec/readme_spec%.lua$")

local function read(name)
    local file = assert(io.open(root .. name))
    local text = file:read "*a"
    file:close()
    return text
end

local readme = read "README.md"

-- ------------------------------------------------------------------- blocks

--- The Lua blocks: {line = where the fence is, lines = {...}}.
local function blocks_of(text)
    local blocks, inside, number = {}, nil, 0
    for line in text:gmatch("([^\n]*)\n") do
        number = number + 1
        if inside and line:find("^```") then
            inside = nil
        elseif inside then
            inside.lines[#inside.lines + 1] = line
        elseif line == "```lua" then
            inside = { line = number, lines = {} }
            blocks[#blocks + 1] = inside
        end
    end
    return blocks
end

local function squeeze(text)
    return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

local function matches(expected, actual)
    local pattern = squeeze(expected):gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".*")
    return squeeze(actual):find("^" .. pattern .. "$") ~= nil
end

--- What the lines of a block announce: a list of {line = of the print or of its end, value =}.
local function expectations(block)
    local list, last = {}, 0
    for number, line in ipairs(block.lines) do
        local before, value = line:match("^(.-)%s*%-%->%s*(.-)%s*$")
        if value then
            last = before == "" and last or number
            list[#list + 1] = { line = last, value = value }
        end
    end
    return list
end

--- The block as a chunk: a value that is announced for a local is shown to __show on the same line.
local function source_of(block)
    local lines = {}
    for number, line in ipairs(block.lines) do
        local names = line:match("^%s*local%s+([%w_, ]-)%s*=.*%-%->")
        lines[number] = names and line:gsub("%s*%-%->.*$", "") .. " __show(" .. names .. ")" or line
    end
    return ("\n"):rep(block.line) .. table.concat(lines, "\n")
end

--- Runs a block. Returns what it printed, line by line: a list of {line = in the block, text =}.
local function run(block)
    local output = {}
    local function show(...)
        local words = portable.pack(...)
        for i = 1, words.n do
            words[i] = tostring(words[i])
        end
        local at = debug.getinfo(2, "l").currentline - block.line
        output[#output + 1] = { line = at, text = table.concat(words, "\t", 1, words.n) }
    end
    local environment = setmetatable({ print = show, __show = show }, { __index = _G })
    local chunk = assert(load(source_of(block), "@README.md", "t", environment))
    chunk()
    return output
end

--- The announcement of what was printed in a line: the first at or after it that is not met yet. (A print may end
--- lines after the one that Lua reports for it; what functions within it print is announced before its end.)
local function announced_for(expected, line)
    for _, one in ipairs(expected) do
        if not one.met and one.line >= line then
            return one
        end
    end
end

local function compare(block, output)
    local expected = expectations(block)
    for _, printed in ipairs(output) do
        local one = announced_for(expected, printed.line)
        local where = ("README.md:%d: "):format(block.line + printed.line)
        assert.is_truthy(one, where .. "prints what no comment announces: " .. printed.text)
        assert.is_true(matches(one.value, printed.text),
            ("%sprints\n    %s\nbut announces\n    %s"):format(where, printed.text, one.value))
        one.met = true
    end
    for _, one in ipairs(expected) do
        assert.is_true(one.met, ("README.md:%d: announces what is not printed: %s")
            :format(block.line + one.line, one.value))
    end
end

describe("a Lua block of README.md", function()
    local stderr = io.stderr

    setup(function()
        -- The log of queries goes to standard error in development, the profile of a reader who has just begun.
        rawset(io, "stderr", { write = function() end })
    end)

    before_each(function()
        server.psql "drop schema public cascade; create schema public"
    end)

    teardown(function()
        rawset(io, "stderr", stderr)
        server.psql "drop schema public cascade; create schema public"
    end)

    for _, block in ipairs(blocks_of(readme)) do
        it(("in line %d runs and prints what it announces"):format(block.line), function()
            local output = run(block)
            collectgarbage() -- closes the pools that the block has left open
            compare(block, output)
        end)
    end

    it("is there at all", function()
        assert.is_true(#blocks_of(readme) > 5)
    end)
end)

describe("the check of the blocks", function()
    local function check(...)
        local block = { line = 0, lines = { ... } }
        return pcall(function() compare(block, run(block)) end)
    end

    it("accepts what is printed as announced", function()
        assert.is_true(check("print(1, 'a') --> 1 a", "local x = 2 --> 2", "print('id ' .. 7) --> id ..."))
        assert.is_true(check("for i = 1, 2 do", "    print(i) --> 1", "    --> 2", "end"))
        assert.is_true(check("print((function()", "    print('in') --> in", "    return 'out'", "end)()) --> out"))
    end)

    it("refuses another value, a silent announcement, an output without one, and an error", function()
        assert.is_false(check("print(1) --> 2"))
        assert.is_false(check("local x = 1 --> 2"))
        assert.is_false(check("if false then print(1) end --> 1"))
        assert.is_false(check("print(1)"))
        assert.is_false(check("error('x')"))
    end)
end)

-- -------------------------------------------------------------------- names

--- The code in the text: blocks, and spans between backquotes.
local function code_of(text)
    local parts = {}
    local prose = text:gsub("\n```%w*\n(.-)\n```", function(block)
        parts[#parts + 1] = block
        return "\n"
    end)
    for span in prose:gmatch("`([^`\n]+)`") do
        parts[#parts + 1] = span
    end
    return table.concat(parts, "\n")
end

local function public(methods)
    local names = {}
    for name in pairs(methods) do
        if type(name) == "string" and name:sub(1, 1) ~= "_" then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    return names
end

describe("README.md", function()
    local objects, code

    setup(function()
        local db = assert(tidepool.open { url = server.url(), log = { queries = false } })
        local transaction
        assert(db:transaction(function(tx)
            transaction = getmetatable(tx).__index
            return true
        end))
        db:close()
        objects = { ["db:"] = core.db_methods, ["conn:"] = core.connection_methods, ["tx:"] = transaction,
                    ["tidepool."] = tidepool }
        code = code_of(readme)
    end)

    it("names only methods and functions that exist", function()
        -- What begins like a function but is none: other modules and the name of the repository.
        local others = { ["tidepool.core"] = true, ["tidepool.git"] = true, ["tidepool.http"] = true }
        for prefix, known in pairs(objects) do
            for name in code:gmatch("%f[%w_]" .. prefix:gsub("%.", "%%.") .. "([%a_][%w_]*)") do
                assert.is_true(known[name] ~= nil or others[prefix .. name] == true,
                    "README.md speaks of " .. prefix .. name .. ", which does not exist")
            end
        end
    end)

    it("mentions everything that is public", function()
        for prefix, known in pairs(objects) do
            for _, name in ipairs(public(known)) do
                assert.is_truthy(code:find("%f[%w_]" .. prefix:gsub("%.", "%%.") .. name .. "%f[^%w_]"),
                    "README.md does not mention " .. prefix .. name)
            end
        end
        assert.is_truthy(code:find(tidepool._VERSION, 1, true))
    end)

    it("names every field of the statistics, the options of a call and of a transaction, and the events", function()
        local db = closing(assert(tidepool.open { url = server.url(), log = { queries = false } }))
        local stats = db:stats()
        for _, fields in ipairs { stats, stats.closed, stats.wait } do
            for name in pairs(fields) do
                local message = "README.md does not mention the statistic " .. name
                assert.is_truthy(code:find(name, 1, true), message)
            end
        end
        local calls = {
            { db.query, db, { "select 1", unknown = true } },
            { db.transaction, db, print, { unknown = true } },
            { db.on, db, "unknown", print },
        }
        for _, call in ipairs(calls) do
            local ok, message = pcall(portable.unpack(call))
            assert.is_false(ok)
            for name in message:match("%(known: (.*)%)"):gmatch("[%w_]+") do
                assert.is_truthy(code:find("%f[%w_]" .. name .. "%f[^%w_]"), "README.md does not mention " .. name)
            end
        end
    end)

    it("has the table of options as tidepool.options() tells it", function()
        local table_text = readme:match("<!%-%- options:[^\n]*\n(.-)\n<!%-%- end of options %-%->")
        local there = {}
        for row in (table_text .. "\n"):gmatch("([^\n]*)\n") do
            there[#there + 1] = row
        end
        table.move(there, 3, #there + 2, 1) -- behind its two lines of heading
        assert.same(readme_options.rows(tidepool.options()), there)
    end)

    it("links only to files and headings that are there", function()
        local headings = {}
        for title in readme:gmatch("\n#+ ([^\n]+)") do
            headings["#" .. title:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
        end
        for target in readme:gmatch("%]%(([^)]+)%)") do
            if target:sub(1, 1) == "#" then
                assert.is_true(headings[target], "no heading for " .. target)
            elseif not target:find("^https?:") then
                assert.is_truthy(io.open(root .. target), "no file " .. target)
            end
        end
    end)
end)
