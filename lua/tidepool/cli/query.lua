--- tidepool query: runs SQL and prints what comes.
-- @module tidepool.cli.query
local database = require "tidepool.cli.database"
local rows = require "tidepool.cli.rows"
local sql = require "tidepool.cli.sql"
local terminal = require "tidepool.cli.terminal"
local tidepool = require "tidepool"

local unpack = require("tidepool.compat").unpack

local M = {
    name = "query",
    summary = "Run SQL and print what comes.",
    description = "Runs SQL and prints what comes, as a table on a terminal, elsewhere as CSV.",
    examples = [[
  tidepool query 'select * from users where id = $1' 42
  tidepool query --format csv 'table orders' > orders.csv      (in constant memory)
  tidepool query --json 'select now()' | jq -r '.[0].now'
  tidepool query --file schema.sql --single-transaction
  echo 'select 1' | tidepool query -
  tidepool query 'select $1::int' -- -5                        (a parameter that begins with -)]],
}

function M.configure(command, convert)
    command:argument "sql":args "?":description "The statement, or several; - reads them from standard input."
    command:argument "parameter":args "*":description "Values of $1, $2 ... of a single statement, as text."
    command:option "-f --file":argname "<file>":description "Read the SQL from a file; all arguments are parameters."
    command:option "--format":choices(rows.formats):description "How rows are printed."
    command:flag "--json":description "The same as --format json: a list of objects."
    command:flag "--no-header":description "No names of columns (table, csv, tsv)."
    command:option "--null":argname "<text>":description "A parameter with this text is NULL."
    command:option "--width":argname "<columns>":convert(convert.natural)
        :description "Cut the cells of a table to this width in all; by default to the terminal's."
    command:flag "-1 --single-transaction":description "All statements, or none."
    command:flag "--read-only":description "In a transaction in which nothing can be written."
end

local function read(path)
    local file, why = io.stdin, nil
    if path ~= "-" then
        file, why = io.open(path, "rb")
    end
    if not file then
        terminal.exit(2, why)
    end
    local text
    text, why = file:read "*a"
    if not text then
        terminal.exit(2, ("%s: %s"):format(path, why))
    end
    return (text:gsub("^\239\187\191", "")) -- the mark with which some editors begin UTF-8
end

-- The statements and the parameters.
local function take(args)
    local parameters = { n = 0 }
    local function add(value)
        parameters.n = parameters.n + 1
        parameters[parameters.n] = value ~= args.null and value or nil
    end
    if not args.file and not args.sql then
        terminal.exit(2, "no SQL is given: tidepool query --help shows how")
    elseif args.file and args.sql then
        add(args.sql)
    end
    for _, value in ipairs(args.parameter) do
        add(value)
    end
    local text = args.file and read(args.file) or args.sql == "-" and read "-" or args.sql
    local statements = sql.split(text)
    if parameters.n > 0 and #statements > 1 then
        terminal.exit(2, "parameters need a single statement")
    end
    return statements, parameters
end

-- The iterator is called by hand, since it may wait.
local function stream(target, format, call, parameters)
    local next_row, _, _, cursor = target:each(call, unpack(parameters, 1, parameters.n))
    format:begin(cursor:columns())
    local row = next_row()
    while row do
        format:row(row)
        terminal.check()
        row = next_row()
    end
    format:finish(cursor:result())
end

local function collect(target, format, call, parameters)
    local result = tidepool.assert(target:query(call, unpack(parameters, 1, parameters.n)))
    format:begin(result.columns)
    for _, row in ipairs(result) do
        format:row(row)
    end
    format:finish(result)
end

local function run(target, statements, parameters, new_format)
    for _, statement in ipairs(statements) do
        local format = new_format()
        local call = { statement, as = "arrays", text = true }
        local ok, err = pcall(rows.streams(format) and stream or collect, target, format, call, parameters)
        if not ok then
            if terminal.is_exit(err) then
                error(err, 0)
            end
            terminal.flush()
            database.fail(err, statement)
        end
    end
end

function M.run(args)
    local statements, parameters = take(args)
    local name = args.json and "json" or args.format or (terminal.is_terminal() and "table" or "csv")
    local function new_format()
        return rows.new(name, { header = not args.no_header, width = args.width or terminal.size() })
    end
    local db = database.open(args)
    local function body(target)
        run(target, statements, parameters, new_format)
        return true
    end
    if args.single_transaction or args.read_only then
        database.must(nil, true, db:transaction(body, { read_only = args.read_only or nil }))
    else
        database.must(nil, true, db:with(body))
    end
end

return M
