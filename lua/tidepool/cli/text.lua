--- Texts as a terminal shows them: how wide they are, cut and filled up to a width.
-- @module tidepool.cli.text
local M = {}

local CHARACTER = "[%z\1-\127\194-\244][\128-\191]*"

-- Characters that are shown on top of the one before (the marks of the larger scripts), and those that take two places
-- (Unicode, EastAsianWidth.txt: W and F).
local none = {
    { 0x300, 0x36F }, { 0x483, 0x489 }, { 0x591, 0x5BD }, { 0x5BF, 0x5BF }, { 0x5C1, 0x5C2 }, { 0x5C4, 0x5C5 },
    { 0x5C7, 0x5C7 }, { 0x610, 0x61A }, { 0x64B, 0x65F }, { 0x670, 0x670 }, { 0x6D6, 0x6DC }, { 0x6DF, 0x6E4 },
    { 0x6E7, 0x6ED }, { 0x900, 0x902 }, { 0x93A, 0x93A },
    { 0x93C, 0x93C }, { 0x941, 0x948 }, { 0x94D, 0x94D }, { 0xE31, 0xE31 }, { 0xE34, 0xE3A }, { 0xE47, 0xE4E },
    { 0x200B, 0x200F }, { 0x2060, 0x2064 }, { 0x20D0, 0x20FF }, { 0xFE00, 0xFE0F }, { 0xFE20, 0xFE2F },
    { 0xFEFF, 0xFEFF },
}
local double = {
    { 0x1100, 0x115F }, { 0x231A, 0x231B }, { 0x2329, 0x232A }, { 0x23E9, 0x23EC }, { 0x23F0, 0x23F0 },
    { 0x23F3, 0x23F3 }, { 0x25FD, 0x25FE }, { 0x2614, 0x2615 }, { 0x2648, 0x2653 }, { 0x267F, 0x267F },
    { 0x2693, 0x2693 }, { 0x26A1, 0x26A1 }, { 0x26AA, 0x26AB }, { 0x26BD, 0x26BE }, { 0x26C4, 0x26C5 },
    { 0x26CE, 0x26CE }, { 0x26D4, 0x26D4 }, { 0x26EA, 0x26EA }, { 0x26F2, 0x26F3 }, { 0x26F5, 0x26F5 },
    { 0x26FA, 0x26FA }, { 0x26FD, 0x26FD }, { 0x2705, 0x2705 }, { 0x270A, 0x270B }, { 0x2728, 0x2728 },
    { 0x274C, 0x274C }, { 0x274E, 0x274E }, { 0x2753, 0x2755 }, { 0x2757, 0x2757 }, { 0x2795, 0x2797 },
    { 0x27B0, 0x27B0 }, { 0x27BF, 0x27BF }, { 0x2B1B, 0x2B1C }, { 0x2B50, 0x2B50 }, { 0x2B55, 0x2B55 },
    { 0x2E80, 0x303E }, { 0x3041, 0xA4CF }, { 0xA960, 0xA97C }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF },
    { 0xFE10, 0xFE19 }, { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 }, { 0xFFE0, 0xFFE6 }, { 0x1F004, 0x1F004 },
    { 0x1F0CF, 0x1F0CF }, { 0x1F18E, 0x1F18E }, { 0x1F191, 0x1F19A }, { 0x1F200, 0x1F265 }, { 0x1F300, 0x1F64F },
    { 0x1F680, 0x1F6FF }, { 0x1F7E0, 0x1F7F0 }, { 0x1F900, 0x1F9FF }, { 0x1FA70, 0x1FAFF }, { 0x20000, 0x3FFFD },
}

-- The ranges rise.
local function is_in(ranges, code)
    for _, range in ipairs(ranges) do
        if code <= range[2] then
            return code >= range[1]
        end
    end
    return false
end

local function code_of(character)
    local first = character:byte()
    local code = first < 0xE0 and first % 0x20 or first < 0xF0 and first % 0x10 or first % 0x08
    for i = 2, #character do
        code = code * 64 + character:byte(i) % 64
    end
    return code
end

local function width_of(character)
    if #character == 1 then
        return 1
    end
    local code = code_of(character)
    return is_in(none, code) and 0 or is_in(double, code) and 2 or 1
end

--- How many places a text takes.
function M.width(text)
    if not text:find "[\128-\255]" then
        return #text
    end
    local width = 0
    for character in text:gmatch(CHARACTER) do
        width = width + width_of(character)
    end
    return width
end

--- The text, or as much of it as fits with a mark that something is missing.
function M.cut(text, width)
    if #text <= width or M.width(text) <= width then
        return text
    end
    local kept, used = {}, 0
    for character in text:gmatch(CHARACTER) do
        local more = width_of(character)
        if used + more > width - 1 then
            break
        end
        kept[#kept + 1] = character
        used = used + more
    end
    return table.concat(kept) .. "…"
end

--- The text with blanks behind it, or before it.
function M.pad(text, width, right)
    local blanks = (" "):rep(width - M.width(text))
    return right and blanks .. text or text .. blanks
end

local names = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- The text on one line, without what would steer the terminal (C0, DEL, C1).
function M.plain(text)
    if not text:find "[%c\194]" then
        return text
    end
    text = text:gsub("%c", function(c) return names[c] or ("\\x%02X"):format(c:byte()) end)
    return (text:gsub("\194([\128-\159])", function(c) return ("\\u%04X"):format(c:byte()) end))
end

--- The text with its blanks and line ends squeezed: SQL on one line.
function M.one_line(text)
    return M.plain((text:gsub("%s+", " "):gsub("^ ", "")))
end

local units = { { "d", 86400 }, { "h", 3600 }, { "m", 60 } }

--- A duration in seconds for people: "0.250 s", "12.5 s", "3m 04s", "2d 03h".
function M.duration(seconds)
    for i, unit in ipairs(units) do
        if seconds >= unit[2] then
            local smaller = units[i + 1] or { "s", 1 }
            return ("%d%s %02d%s"):format(math.floor(seconds / unit[2]), unit[1],
                math.floor(seconds % unit[2] / smaller[2]), smaller[1])
        end
    end
    return (seconds < 10 and "%.3f s" or "%.1f s"):format(seconds)
end

--- A number of bytes for people: "812 B", "1.4 GB".
function M.bytes(n)
    local names_of = { "B", "kB", "MB", "GB", "TB" }
    local i = 1
    while n >= 1024 and i < #names_of do
        n, i = n / 1024, i + 1
    end
    return (i == 1 and "%d %s" or "%.1f %s"):format(n, names_of[i])
end

return M
