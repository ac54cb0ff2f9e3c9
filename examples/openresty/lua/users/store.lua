--- What the service keeps, in terms of the database.
local db = require "users.database"

local M = {}

local columns = "id, email, name, created_at"

--- The users in the order of their creation, from after the one with this id.
function M.list(after, limit)
    return db:query("select " .. columns .. " from users where id > $1 order by id limit $2", after, limit)
end

--- One user, or nil; nil and an error when the database has failed.
function M.find(id)
    return db:one("select " .. columns .. " from users where id = $1", id)
end

--- Makes a user and notes it in the audit log: both, or neither.
function M.create(email, name, address)
    return db:transaction(function(tx)
        local user = assert(tx:one("insert into users (email, name) values ($1, $2) returning " .. columns,
            email, name))
        assert(tx:exec("insert into user_audit_log (user_id, action, details) values ($1, 'create', $2)",
            user.id, { from = address }))
        return user
    end)
end

--- Whether the database answers, in milliseconds; and what the pool has.
function M.health()
    local answers, err = db:ping(1000)
    return answers, err, db:stats()
end

return M
