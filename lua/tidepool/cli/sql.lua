--- Splits a script into its statements, as psql does.
-- @module tidepool.cli.sql
local M = {}

-- Where a string with the given quote ends; in one that begins with E a backslash takes the next character along.
local function behind_string(text, at, quote, escapes)
    while true do
        at = text:find(escapes and "['\\]" or quote, at)
        if not at then
            return #text + 1
        elseif text:sub(at, at) == "\\" then
            at = at + 2
        elseif text:sub(at + 1, at + 1) == quote then
            at = at + 2
        else
            return at + 1
        end
    end
end

-- Comments may be nested.
local function behind_comment(text, at)
    local depth = 0
    repeat
        local opening, closing = text:find("/*", at, true), text:find("*/", at, true)
        if not closing then
            return #text + 1
        elseif opening and opening < closing then
            depth, at = depth + 1, opening + 2
        else
            depth, at = depth - 1, closing + 2
        end
    until depth == 0
    return at
end

local function behind_dollars(text, at)
    local tag = text:match("^%$[%a_\128-\255]?[%w_\128-\255]*%$", at)
    if not tag then
        return at + 1
    end
    local _, stop = text:find(tag, at + #tag, true)
    return (stop or #text) + 1
end

-- Words matter in one place: the body of a function in standard SQL is BEGIN ATOMIC ... END, with semicolons.
local function follow(state, word)
    word = word:lower()
    if state.depth > 0 and (word == "case" or word == "begin") then
        state.depth = state.depth + 1
    elseif state.depth > 0 and word == "end" then
        state.depth = state.depth - 1
    elseif word == "atomic" and state.last == "begin" then
        state.depth = 1
    end
    state.last = word
end

-- Where what begins at `at` ends, and whether it is more than blanks and comments.
local function skip(text, at, state)
    local c = text:sub(at, at)
    if c == "'" or c == '"' then
        return behind_string(text, at + 1, c, c == "'" and state.last == "e" and state.word_end == at), true
    elseif text:find("^%-%-", at) then
        return (text:find("\n", at, true) or #text) + 1, false
    elseif text:find("^/%*", at) then
        return behind_comment(text, at), false
    elseif c == "$" then
        return behind_dollars(text, at), true
    end
    local word = text:match("^[%a_\128-\255][%w_$\128-\255]*", at)
    if word then
        follow(state, word)
        state.word_end = at + #word
        return at + #word, true
    end
    return at + 1, c:find "%S" ~= nil
end

--- The statements of a script, without what is blank.
function M.split(text)
    local statements, state = {}, { depth = 0, parentheses = 0 }
    local at, first, has_text = 1, 1, false
    local function finish(last)
        if has_text then
            statements[#statements + 1] = text:sub(first, last):match "^%s*(.-)%s*$"
        end
        first, has_text = at, false
    end
    while at <= #text do
        local c = text:sub(at, at)
        state.parentheses = math.max(0, state.parentheses + (c == "(" and 1 or c == ")" and -1 or 0))
        if c == ";" and state.depth == 0 and state.parentheses == 0 then
            at = at + 1
            finish(at - 2)
        else
            local some
            at, some = skip(text, at, state)
            has_text = has_text or some
        end
    end
    finish(#text)
    return statements
end

return M
