--- The page that shows a pool at work, and the data that it asks for.
-- @module tidepool.http.page
local answer = require "tidepool.http.answer"
local blockers = require "tidepool.blockers"
local core = require "tidepool.core"
local figures = require "tidepool.http.figures"
local memory = require "tidepool.http.memory"

local M = {}

-- For how long the answers of the server are shown to all who look: many pages cost what one does.
local KEEP_MS = 1500

-- How long the page waits for the server; what the pool knows of itself is shown in any case.
local TIMEOUT_MS = 1000

-- ------------------------------------------------------------------- the page

local page -- {body =, policy =}: made once

-- The policy of the page has the digests of its script and style, so that a browser runs and shows nothing else.
local function make_page()
    local style = require "tidepool.http.page.style"
    local script = table.concat {
        require "tidepool.http.page.script", require "tidepool.http.page.charts", require "tidepool.http.page.tables",
        (require "tidepool.http.page.view"),
    }
    local parts = { STYLE = style, SCRIPT = script }
    return {
        body = (require("tidepool.http.page.markup"):gsub("@(%u+)@", parts)),
        policy = ("default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; connect-src 'self'; "
            .. "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
            :format(core.sha256(script), core.sha256(style)),
    }
end

--- GET /tidepool/
function M.html()
    page = page or make_page()
    return answer.text(200, "text/html; charset=utf-8", page.body, {
        ["content-security-policy"] = page.policy, ["referrer-policy"] = "no-referrer", ["x-frame-options"] = "DENY",
        ["cross-origin-opener-policy"] = "same-origin", ["cross-origin-resource-policy"] = "same-origin",
    })
end

-- ------------------------------------------------------------------- its data

-- SQL is shown as it was given, and errors have texts of anybody's: JSON takes UTF-8 only.
local function clean(value)
    if type(value) == "string" and not core.json_encode(value) then
        return (value:gsub("[\128-\255]", "?"))
    elseif type(value) == "table" then
        local copy = {}
        for key, field in pairs(value) do
            copy[key] = clean(field)
        end
        return getmetatable(value) == core.array_mt and core.array(copy) or copy
    elseif type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
        return core.null
    end
    return value
end

local function list_of(value)
    local list = core.array {}
    for i, entry in ipairs(type(value) == "table" and value or {}) do
        list[i] = clean(entry)
    end
    return list
end

local function error_of(err)
    return err and { kind = err.kind, message = err.message, code = err.code } or nil
end

-- Which backends of the server wait for others. While no connection is to be had, the error has what could be found out
-- without one; a pool that is suspended or closed was not asked at all.
local function blockers_of(db, health, timeout_ms)
    if health.error or not health.latency_ms then
        return list_of(health.error and health.error.blockers)
    end
    return list_of((blockers.ask(db, timeout_ms)))
end

-- What is asked of the server: {health =, blockers =}.
local function ask(db, options)
    return memory.kept(db, "page", KEEP_MS, function()
        local timeout_ms = options.health_timeout_ms or TIMEOUT_MS
        local health = db:health(timeout_ms)
        local blocked = blockers_of(db, health, timeout_ms)
        health.reasons = core.array(health.reasons)
        health.error, health.last_error = error_of(health.error), error_of(health.last_error)
        return { health = clean(health), blockers = blocked }
    end)
end

-- The number in "since=1700000000.5", or of a table of parameters.
local function since_of(query)
    local text = type(query) == "table" and query.since or tostring(query or ""):match "^since=([%d.]+)"
        or tostring(query or ""):match "&since=([%d.]+)"
    return tonumber(text) or 0
end

--- GET /tidepool/data.json
function M.data(db, request, options)
    local asked = ask(db, options)
    local stats = figures.of(db)
    local state = db:state()
    return answer.json(200, {
        time = core.time(), pool = figures.pool_name(db), version = core.version,
        service = options.service or db:option "application_name" or "tidepool",
        state = state.state, since = memory.since(db), next_try_ms = state.next_try_ms,
        health = asked.health, blockers = asked.blockers, stats = clean(stats),
        slow_ms = tonumber(db:option "log.slow_ms") or 0,
        history = memory.history(db, since_of(request.query)),
        statements = list_of(db:statements { limit = 50 }),
        slow_queries = list_of(db:slow_queries()),
        holders = list_of(db:holders()),
        tls_warnings = list_of(db:tls().warnings),
    })
end

return M
