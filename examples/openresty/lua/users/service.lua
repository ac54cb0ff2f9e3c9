--- The HTTP side of the service: checks what comes in, says what came of it.
-- luacheck: std +ngx_lua
local cjson = require "cjson.safe"
local store = require "users.store"

local M = {}

local function answer(status, value)
    ngx.status = status
    ngx.say(cjson.encode(value))
end

-- What went wrong at the database, as HTTP has it. The details are for the log.
local function fail(err)
    if err.constraint == "users_email_key" then
        return answer(409, { error = "there is a user with this address already" })
    end
    ngx.log(ngx.ERR, tostring(err))
    if err.kind == "pool_timeout" or err.kind == "connection" then
        ngx.header.retry_after = 1
        return answer(503, { error = "the database is busy or away" })
    end
    return answer(500, { error = "something went wrong" })
end

local function list()
    local query = ngx.req.get_uri_args()
    local after, limit = tonumber(query.after or 0), tonumber(query.limit or 20)
    if not after or not limit or limit < 1 or limit > 100 then
        return answer(400, { error = "after and limit are numbers, limit is between 1 and 100" })
    end
    local users, err = store.list(after, limit)
    if not users then
        return fail(err)
    end
    local items = setmetatable({}, cjson.array_mt)
    for i, user in ipairs(users) do
        items[i] = user
    end
    return answer(200, { users = items, next = users[limit] and users[limit].id })
end

local function create()
    ngx.req.read_body()
    local body = cjson.decode(ngx.req.get_body_data() or "")
    if type(body) ~= "table" or type(body.email) ~= "string" or type(body.name) ~= "string" then
        return answer(400, { error = "a JSON object with email and name is needed" })
    end
    local user, err = store.create(body.email, body.name, ngx.var.remote_addr)
    if not user then
        return fail(err)
    end
    ngx.header.location = "/users/" .. user.id
    return answer(201, user)
end

--- GET /users?after=&limit= and POST /users
function M.users()
    local method = ngx.req.get_method()
    if method == "GET" then
        return list()
    elseif method == "POST" then
        return create()
    end
    ngx.header.allow = "GET, POST"
    return answer(405, { error = "only GET and POST" })
end

--- GET /users/ID
function M.user(id)
    local user, err = store.find(id)
    if user then
        return answer(200, user)
    elseif err then
        return fail(err)
    end
    return answer(404, { error = "there is no such user" })
end

--- GET /health
function M.health()
    local answers, err, stats = store.health()
    return answer(answers and 200 or 503, {
        status = answers and "ok" or "failing",
        message = err and err.kind,
        timestamp = os.date "!%Y-%m-%dT%H:%M:%SZ",
        service = "users",
        version = "1.0.0",
        database = {
            connectionCount = stats.total_connections,
            idle = stats.idle_connections,
            waiting = stats.waiting_requests,
        },
    })
end

return M
