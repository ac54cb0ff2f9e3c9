--- Health, metrics, maintenance and a page to look at, for any server that speaks HTTP.
--
--     local status, headers, body = http.handle(db, { method = "GET", path = "/health", headers = {} })
--
-- In nginx, in a location's content_by_lua_block:
--
--     require("tidepool.http").nginx(db)
--
-- @module tidepool.http
local answer = require "tidepool.http.answer"
local compat = require "tidepool.compat"
local failure = require "tidepool.failure"
local maintenance = require "tidepool.http.maintenance"
local memory = require "tidepool.http.memory"
local page = require "tidepool.http.page"
local prometheus = require "tidepool.http.prometheus"
local shapes = require "tidepool.http.shapes"

local M = {}

-- ------------------------------------------------------------------ options

local known = {
    prefix = "string",                 -- what the paths begin with: "/ops"
    service = "string",                -- the name of the service in /health
    version = "string",                -- and its version
    token = "string",                  -- without it there is no maintenance
    indexes = "table",                 -- what createIndexes makes
    health_timeout_ms = "number",      -- how long the server has to answer (2000)
    maintenance_timeout_ms = "number", -- how long one statement of maintenance may take (an hour)
    extra = "function",                -- extra(db) returns more fields for /health
}

local function names()
    local list = {}
    for name in pairs(known) do
        list[#list + 1] = name
    end
    table.sort(list)
    return table.concat(list, ", ")
end

local function check_indexes(indexes)
    for i, entry in ipairs(indexes) do
        if type(entry) ~= "table" or type(entry.name) ~= "string" or type(entry.on) ~= "string" then
            failure.misuse("option 'indexes': entry %d needs a name and what it is on: "
                .. "{ name = \"i\", on = \"t (column)\" }", i)
        end
    end
end

local function check(options)
    if type(options) ~= "table" then
        failure.misuse("a table of options expected, got %s", type(options))
    end
    for name, value in pairs(options) do
        if not known[name] then
            failure.misuse("unknown option '%s' (known: %s)", tostring(name), names())
        elseif type(value) ~= known[name] and not (name == "extra" and type(value) == "table") then
            failure.misuse("option '%s' must be a %s", name, known[name])
        end
    end
    check_indexes(options.indexes or {})
    return options
end

-- ------------------------------------------------------------------- routes

local function service(db, _, options) return shapes.service(db, options) end
local function health(db, _, options) return shapes.health(db, options) end
local function metrics(db, _, options) return shapes.metrics(db, options) end

-- Relative, so that it holds wherever a server in front has put it.
local function to_page()
    return answer.text(301, "text/plain; charset=utf-8", "tidepool/\n", { location = "tidepool/" })
end

-- What is at a path, by method.
local routes = {
    ["/health"] = { GET = service },
    ["/metrics"] = { GET = prometheus.scrape },
    ["/api/db/health"] = { GET = health },
    ["/api/db/metrics"] = { GET = metrics },
    ["/api/db/maintenance"] = { POST = maintenance.handle },
    ["/tidepool"] = { GET = to_page },
    ["/tidepool/"] = { GET = page.html },
    ["/tidepool/data.json"] = { GET = page.data },
}

-- Everything is below /tidepool, too, so that one location is enough.
local function find(path, prefix)
    prefix = prefix:gsub("/+$", "")
    if path:sub(1, #prefix) ~= prefix then
        return nil
    end
    path = path:sub(#prefix + 1)
    return routes[path] or routes[path:match "^/tidepool(/.+)$" or ""]
end

local function allowed(methods)
    local list = {}
    for method in pairs(methods) do
        list[#list + 1] = method
        list[#list + 1] = method == "GET" and "HEAD" or nil
    end
    return table.concat(list, ", ")
end

local function respond(db, request, options)
    local methods = find(request.path, options.prefix or "")
    if not methods then
        return answer.failure(404, "there is nothing at this path")
    end
    local method = request.method == "HEAD" and "GET" or request.method
    local respond_to = methods[method]
    if not respond_to then
        return answer.failure(405, "this method is not for this path", { allow = allowed(methods) })
    end
    return respond_to(db, request, options)
end

-- An application may wrap its database in a table with the same methods.
local function check_database(db)
    if type(db) ~= "userdata" and not (type(db) == "table" and db.with) then
        failure.misuse("a database expected, as tidepool.open returns it, got %s", type(db))
    end
end

local function check_request(request)
    if type(request) ~= "table" or type(request.method) ~= "string" or type(request.path) ~= "string" then
        failure.misuse("a request needs a method and a path")
    end
    local path, query = request.path:match "^([^?]*)%??(.*)$"
    local copy = { headers = {}, query = query }
    for name, value in pairs(request) do copy[name] = value end
    copy.path = path
    return copy
end

--- Answers a request.
-- @param db the database
-- @param request {method =, path =, headers = by lower-case names, query = text or table, body =, remote_addr =}
-- @param options see README.md, or nil
-- @return the status, the headers by lower-case names, and the body (empty for HEAD)
function M.handle(db, request, options)
    check_database(db)
    options = check(options or {})
    request = check_request(request)
    memory.sample(db)
    local ok, status, headers, body = compat.pcall(respond, db, request, options)
    if not ok then
        memory.report(db, status)
        status, headers, body = answer.failure(500, "something went wrong, see the log")
    end
    return status, headers, request.method == "HEAD" and "" or body
end

local Handler = {}
Handler.__index = Handler

--- A handler with its database and options: handler:handle(request).
-- @param options those of handle, and `db`
function M.new(options)
    if type(options) ~= "table" then
        failure.misuse("a table of options expected, as in http.new{ db = db }, got %s", type(options))
    end
    check_database(options.db)
    local rest = {}
    for name, value in pairs(options) do rest[name] = value end
    rest.db = nil
    return setmetatable({ db = options.db, options = check(rest) }, Handler)
end

--- Answers a request, as M.handle does.
function Handler:handle(request)
    return M.handle(self.db, request, self.options)
end

--- Answers the request that nginx runs this code for.
function M.nginx(db, options)
    check_database(db)
    return require "tidepool.http.nginx".answer(M.handle, db, options)
end

return M
