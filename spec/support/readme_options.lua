--- The rows of README.md's table of options, made from the option table itself.
--
--     make && LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/default/lua/?.so;;' \
--         lua5.4 spec/support/readme_options.lua
--
-- prints them; spec/readme_spec.lua compares them with what README.md has.
local M = {}

local function code(text)
    return text == "" and "" or "`" .. text .. "`"
end

-- "A|B" as `A`, `B`: a bar would end the cell.
local function codes(list)
    local out = {}
    for word in list:gmatch("[^|]+") do
        out[#out + 1] = code(word)
    end
    return table.concat(out, ", ")
end

local function default(option)
    if option.production == option.development then
        return option.production
    end
    return option.development .. "; production " .. option.production
end

local function row_of(option)
    local doc = option.doc
    if option.choices ~= "" then
        doc = doc .. " One of " .. codes(option.choices) .. "."
    end
    local cells = { code(option.name), codes(option.environment), code(option.url), default(option), doc }
    return (("| " .. table.concat(cells, " | ") .. " |"):gsub("  +", " "))
end

--- The rows of a list of options, as tidepool.options() returns it.
function M.rows(options)
    local rows = {}
    for i, option in ipairs(options) do
        rows[i] = row_of(option)
    end
    return rows
end

-- Run as a program rather than required.
if arg and arg[0] and arg[0]:find("readme_options%.lua$") then
    print(table.concat(M.rows(require("tidepool").options()), "\n"))
end

return M
