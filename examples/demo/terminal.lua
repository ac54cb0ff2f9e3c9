--- What the demo prints: headings, tables, a progress bar. Colours and a moving bar only on
-- a terminal; in a file or a pipe each thing is said once, in plain text.
local core = require "tidepool.core"

local M = { width = 80 }

local bar_width = 30

io.stdout:setvbuf("line") -- so that a log shows each line when it is printed

-- Lua cannot ask what its output is; a child process has the same output and can.
local on_terminal = os.getenv("TERM") ~= nil and os.getenv("TERM") ~= "dumb" and os.execute("test -t 1") == true
local coloured = on_terminal and (os.getenv("NO_COLOR") or "") == ""

local function first_set(...)
    for _, name in ipairs { ... } do
        local value = os.getenv(name)
        if value and value ~= "" then
            return value
        end
    end
    return ""
end

local utf8_locale = first_set("LC_ALL", "LC_CTYPE", "LANG"):lower():find("utf%-?8") ~= nil
local glyphs = utf8_locale and { full = "█", empty = "░", rule = "─", tick = "✓" }
    or { full = "#", empty = ".", rule = "-", tick = "*" }

local codes = { bold = "1", dim = "2", green = "32", yellow = "33", cyan = "36" }

local function paint(colour, text)
    if not coloured then
        return text
    end
    return ("\27[%sm%s\27[0m"):format(codes[colour], text)
end

--- Monotonic milliseconds.
M.now = core.now

-- ------------------------------------------------------------------- text

-- Accents that are characters of their own take no room on the screen.
local function takes_room(code)
    return code < 0x300 or code > 0x36F
end

--- The columns that a text takes.
function M.columns_of(text)
    local count = 0
    for _, code in utf8.codes(text) do
        count = count + (takes_room(code) and 1 or 0)
    end
    return count
end

local function cut(text, width)
    if M.columns_of(text) <= width then
        return text
    end
    local count = 0
    for position, code in utf8.codes(text) do
        count = count + (takes_room(code) and 1 or 0)
        if count > width - 2 then
            return text:sub(1, position - 1):gsub("%s+$", "") .. ".."
        end
    end
end

local function pad(text, width, right)
    local space = (" "):rep(width - M.columns_of(text))
    return right and space .. text or text .. space
end

--- 1234567 as 1,234,567.
function M.count(number)
    local digits = ("%d"):format(number)
    local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse()
    return (grouped:gsub("^,", ""))
end

--- Milliseconds with as many digits as they deserve.
function M.ms(value)
    if value == 0 then
        return "0"
    end
    local places = value < 1 and 3 or value < 100 and 1 or 0
    return ("%." .. places .. "f"):format(value)
end

--- Prints a paragraph, wrapped; `first` stands before its first line, the others are indented by as much.
function M.paragraph(text, first, colour)
    first = first or "  "
    local indent, line = (" "):rep(M.columns_of(first)), first
    local room = M.width - 1
    local empty = true
    for word in text:gmatch("%S+") do
        if not empty and M.columns_of(line) + 1 + M.columns_of(word) > room then
            print(colour and paint(colour, line) or line)
            line, empty = indent, true
        end
        line = line .. (empty and "" or " ") .. word
        empty = false
    end
    print(colour and paint(colour, line) or line)
end

function M.title(text)
    print()
    print(paint("bold", text))
    print(paint("dim", glyphs.rule:rep(M.columns_of(text))))
end

function M.section(text)
    print()
    print(paint("bold", text))
end

function M.note(text)
    M.paragraph(text, "  ", "dim")
end

function M.warning(text)
    M.paragraph(text, "    ", "yellow")
end

--- One thing that went as it should.
function M.tick(what, outcome)
    print(("  %s %s"):format(paint("green", glyphs.tick), paint("bold", what)))
    if outcome then
        M.paragraph(outcome, "    ")
    end
end

--- Prints names and values, the values below each other.
function M.fields(list)
    local widest = 0
    for _, field in ipairs(list) do
        widest = math.max(widest, M.columns_of(field[1]))
    end
    for _, field in ipairs(list) do
        M.paragraph(field[2], "    " .. pad(field[1], widest) .. "  ")
    end
end

-- ------------------------------------------------------------------ tables

local function widths_of(columns, rows)
    local widths = {}
    for i, column in ipairs(columns) do
        local widest = M.columns_of(column.title)
        for _, row in ipairs(rows) do
            widest = math.max(widest, M.columns_of(row[i]))
        end
        widths[i] = math.min(widest, column.most or widest)
    end
    return widths
end

local function line_of(columns, widths, cells)
    local parts = {}
    for i, column in ipairs(columns) do
        parts[i] = pad(cut(cells[i], widths[i]), widths[i], column.right)
    end
    return ("  " .. table.concat(parts, "  "):gsub("%s+$", ""))
end

--- Prints rows of texts below their titles.
-- @param columns a list of {title =, right = true for numbers, most = the widest it may be}
function M.table(columns, rows)
    local widths, titles, rules = widths_of(columns, rows), {}, {}
    for i, column in ipairs(columns) do
        titles[i] = column.title
        rules[i] = glyphs.rule:rep(widths[i])
    end
    print(paint("cyan", line_of(columns, widths, titles)))
    print(paint("dim", line_of(columns, widths, rules)))
    for _, row in ipairs(rows) do
        print(line_of(columns, widths, row))
    end
end

--- A bar of `width` columns at most, for a share between 0 and 1.
function M.share(share, width)
    return glyphs.full:rep(math.floor(share * width + 0.5))
end

-- ------------------------------------------------------------ progress bar

local Progress = { __name = "demo.progress" }
Progress.__index = Progress

--- Begins a progress bar for `total` rows.
function M.progress(label, total)
    local progress = setmetatable({ label = label, total = total, began = M.now(), shown = -math.huge }, Progress)
    progress:update(0)
    return progress
end

--- Shows how far it is, at most every 50 ms.
function Progress:update(done)
    local now = M.now()
    if not on_terminal or now - self.shown < 50 then
        return
    end
    self.shown = now
    local full = math.floor(bar_width * done / self.total)
    local bar = paint("cyan", glyphs.full:rep(full)) .. paint("dim", glyphs.empty:rep(bar_width - full))
    io.write(("\r  %-16s %s %3d %%  %s"):format(self.label, bar, 100 * done // self.total, M.count(done)))
    io.flush()
end

--- Ends the bar with what it came to.
function Progress:finish()
    local seconds = (M.now() - self.began) / 1000
    local rate = self.total / math.max(seconds, 0.001)
    if on_terminal then
        io.write("\r\27[K")
    end
    print(("  %-16s %9s rows %7.2f s %10s rows/s"):format(self.label, M.count(self.total), seconds, M.count(rate // 1)))
end

return M
