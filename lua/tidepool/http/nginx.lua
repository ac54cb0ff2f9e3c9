--- The HTTP handler within nginx: takes the request from it and gives it the answer.
-- @module tidepool.http.nginx
local maintenance = require "tidepool.http.maintenance"
local memory = require "tidepool.http.memory"

local M = {}

-- The body of a request, as far as one can be of use: what is longer is one byte too long for the handler.
local function read_body()
    local too_long = ("x"):rep(maintenance.BODY_AT_MOST + 1)
    local length = tonumber(ngx.var.http_content_length)
    if length and length > maintenance.BODY_AT_MOST then
        return too_long -- nginx drops it unread
    end
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if not body and ngx.req.get_body_file() then
        return too_long
    end
    return body
end

-- A header that came twice counts once: the first.
local function read_headers()
    local headers = {}
    for name, value in pairs(ngx.req.get_headers()) do
        headers[name:lower()] = type(value) == "table" and value[1] or value
    end
    return headers
end

local watched = setmetatable({}, { __mode = "k" }) -- databases whose history this worker keeps

-- How the pool does is noted also while nobody looks. The timer ends with the worker.
local function watch(db)
    if watched[db] then
        return
    end
    watched[db] = true
    local weakly = setmetatable({ db }, { __mode = "v" })
    ngx.timer.every(memory.EVERY_MS / 1000, function(ending)
        if not ending and weakly[1] then
            memory.sample(weakly[1])
        end
    end)
end

--- @param handle of tidepool.http
function M.answer(handle, db, options)
    watch(db)
    local method = ngx.req.get_method()
    local status, headers, body = handle(db, {
        method = method, path = ngx.var.uri, headers = read_headers(), query = ngx.var.args or "",
        body = method == "POST" and read_body() or nil, remote_addr = ngx.var.remote_addr,
    }, options)
    ngx.status = status
    for name, value in pairs(headers) do
        ngx.header[name] = value
    end
    ngx.print(body)
end

return M
