--- tidepool serve: health, metrics and the page over HTTP, by an nginx in the foreground.
-- @module tidepool.cli.serve
local terminal = require "tidepool.cli.terminal"

local M = {
    name = "serve",
    summary = "Serve health, metrics and a page over HTTP.",
    description = "Runs an nginx (with its Lua module) in the foreground that serves /health, /metrics, /api/db/... "
        .. "and the page /tidepool/ of the database; Ctrl-C ends it.",
    examples = [[
  tidepool serve
  tidepool serve --port 9090 --workers 2
  TIDEPOOL_HTTP_TOKEN=... tidepool serve          (POST /api/db/maintenance, which is off without a token)]],
}

function M.configure(command, convert)
    command:option "--host":argname "<address>":default "127.0.0.1":description "Where to listen."
    command:option "--port":argname "<port>":default "8080":convert(convert.natural):description "On which port."
    command:option "--workers":argname "<n>":default "1":convert(convert.natural):description "Processes of nginx."
end

function M.run(args)
    local ok, err = require("tidepool.http.serve").run {
        host = args.host, port = args.port, workers = args.workers, url = args.url,
    }
    if not ok then
        terminal.exit(2, tostring(err))
    end
end

return M
