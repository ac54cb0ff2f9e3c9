--- How rows are printed: as a table, as CSV, as lines with tabs, as JSON.
--
-- A format has begin(columns), row(cells) and finish(result); cells are texts, nil for NULL. All but the table print
-- each row as it comes.
-- @module tidepool.cli.rows
local json = require "tidepool.cli.json"
local terminal = require "tidepool.cli.terminal"
local text = require "tidepool.cli.text"

local M = {}

local to_the_right = {
    int2 = true, int4 = true, int8 = true, oid = true, float4 = true, float8 = true, numeric = true, money = true,
}

-- -------------------------------------------------------------------- table

local Table = {}
Table.__index = Table

function Table:begin(columns)
    self.columns, self.widths, self.rows = columns, {}, {}
    for i, column in ipairs(columns) do
        self.widths[i] = text.width(text.plain(column.name))
    end
end

local NULL = "NULL"

function Table:row(cells)
    local shown = {}
    for i = 1, #self.columns do
        shown[i] = cells[i] and text.plain(cells[i]) or false
        self.widths[i] = math.max(self.widths[i], shown[i] and text.width(shown[i]) or #NULL)
    end
    self.rows[#self.rows + 1] = shown
end

-- The widest columns give up what does not fit.
local function fit(widths, room)
    local sum = -1
    for _, width in ipairs(widths) do
        sum = sum + width + 3
    end
    while sum > room do
        local widest, second = 1, 0
        for i, width in ipairs(widths) do
            if width > widths[widest] then widest = i end
        end
        for i, width in ipairs(widths) do
            second = i ~= widest and math.max(second, width) or second
        end
        local less = math.min(sum - room, math.max(1, widths[widest] - second))
        if widths[widest] - less < 4 then
            return
        end
        widths[widest], sum = widths[widest] - less, sum - less
    end
end

function Table:line(cells, colour)
    local parts = {}
    for i, column in ipairs(self.columns) do
        local cell = cells[i] or NULL
        local padded = text.pad(text.cut(cell, self.widths[i]), self.widths[i], to_the_right[column.type])
        parts[i] = " " .. terminal.colour(colour or not cells[i] and "dim", padded)
    end
    terminal.write((table.concat(parts, " |"):gsub(" +$", "")), "\n")
end

function Table:finish(result)
    if #self.columns == 0 and #self.rows == 0 then
        local count = result.count and result.count > 0 and " " .. ("%d"):format(result.count) or ""
        terminal.write(result.command, count, "\n")
        return
    end
    if self.room then
        fit(self.widths, self.room)
    end
    if self.header then
        local names, rules = {}, {}
        for i, column in ipairs(self.columns) do
            names[i] = text.plain(column.name)
            rules[i] = ("-"):rep(self.widths[i] + 2)
        end
        self:line(names, "bold")
        terminal.write(table.concat(rules, "+"), "\n")
    end
    for _, cells in ipairs(self.rows) do
        self:line(cells)
    end
    terminal.write(("(%d row%s)\n"):format(#self.rows, #self.rows == 1 and "" or "s"))
end

-- ------------------------------------------------------------ csv and tabs

local Lines = {}
Lines.__index = Lines

function Lines:begin(columns)
    self.columns = columns
    local names = {}
    for i, column in ipairs(columns) do
        names[i] = column.name
    end
    if self.header and #columns > 0 then
        self:row(names)
    end
end

function Lines:row(cells)
    local parts, cell = {}, self.cell
    for i = 1, #self.columns do
        parts[i] = cell(cells[i])
    end
    terminal.write(table.concat(parts, self.delimiter), self.ending)
end

function Lines.finish() end

-- Plain searches, which are quicker than a pattern in long cells.
local function needs_quotes(cell)
    return cell == "" or cell:find(",", 1, true) or cell:find('"', 1, true) or cell:find("\n", 1, true)
        or cell:find("\r", 1, true)
end

-- RFC 4180. As COPY has it, NULL is nothing and an empty text is quoted.
local function csv_cell(cell)
    if cell == nil then
        return ""
    elseif needs_quotes(cell) then
        return '"' .. cell:gsub('"', '""') .. '"'
    end
    return cell
end

local escapes = {
    ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\v"] = "\\v", ["\\"] = "\\\\",
}

-- As COPY writes its text format.
local function tsv_cell(cell)
    return cell and (cell:gsub("[\b-\r\\]", escapes)) or "\\N"
end

-- --------------------------------------------------------------------- json

local Json = {}
Json.__index = Json

function Json:begin(columns)
    self.names, self.kinds, self.count = {}, {}, 0
    for i, column in ipairs(columns) do
        self.names[i], self.kinds[i] = json.string(column.name), column.type
    end
end

function Json:row(cells)
    local parts = {}
    for i, name in ipairs(self.names) do
        parts[i] = name .. ":" .. json.cell(cells[i], self.kinds[i])
    end
    terminal.write(self.count == 0 and "[\n{" or ",\n{", table.concat(parts, ","), "}")
    self.count = self.count + 1
end

function Json:finish(result)
    if self.count > 0 then
        terminal.write "\n]\n"
    elseif #self.names > 0 then
        terminal.write "[]\n"
    else
        terminal.write(json.encode { command = result.command, count = result.count }, "\n")
    end
end

-- -----------------------------------------------------------------------

M.formats = { "table", "csv", "tsv", "json" }

--- A format by name.
-- @param options header: whether names are printed above rows; width: of the terminal, nil: any
function M.new(name, options)
    if name == "csv" then
        return setmetatable({ header = options.header, cell = csv_cell, delimiter = ",", ending = "\r\n" }, Lines)
    elseif name == "tsv" then
        return setmetatable({ header = options.header, cell = tsv_cell, delimiter = "\t", ending = "\n" }, Lines)
    elseif name == "json" then
        return setmetatable({}, Json)
    end
    return setmetatable({ header = options.header, room = options.width }, Table)
end

--- Whether a format wants rows as they come.
function M.streams(format)
    return getmetatable(format) ~= Table
end

return M
