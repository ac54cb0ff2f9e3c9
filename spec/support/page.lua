--- The page of tidepool.http in a real browser, without a window: chromium.
local server = require "spec.support.server"

local M = {}

M.program = server.sh "command -v chromium || command -v chromium-browser":match "%S+"

--- Runs chromium on a page for some seconds of its own time. `options`: `width`, `height`, `dark`, `ms` (5000),
--- `screenshot` (a path). Returns the document as it is then, and what the console was told.
function M.look(url, options)
    options = options or {}
    local folder = server.sh 'mktemp -d "${TIDEPOOL_TEST_TMP:-/tmp}/page-XXXXXX"':match "%S+"
    local words = {
        "timeout 60", M.program, "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr",
        "--disable-background-networking --no-first-run --user-data-dir=" .. folder .. "/profile",
        ("--window-size=%d,%d"):format(options.width or 1280, options.height or 1000),
        "--virtual-time-budget=" .. (options.ms or 5000),
        options.dark and "--blink-settings=preferredColorScheme=0" or "--blink-settings=preferredColorScheme=1",
        options.screenshot and "--screenshot='" .. options.screenshot .. "'" or "--dump-dom", "'" .. url .. "'",
        ">" .. folder .. "/dom 2>" .. folder .. "/log",
    }
    local _, code = server.sh(table.concat(words, " "))
    local dom = server.sh("cat " .. folder .. "/dom")
    local log = server.sh("grep CONSOLE " .. folder .. "/log")
    local whole = code ~= 0 and server.sh("tail -n 20 " .. folder .. "/log") or ""
    server.sh("rm -rf " .. folder)
    if code ~= 0 then
        error("chromium has failed:\n" .. whole, 2)
    end
    return dom, log
end

return M
