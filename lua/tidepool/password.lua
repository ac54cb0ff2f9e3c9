--- Passwords that the program makes: the option `password` is a function.
--
-- It is called for each new connection, in the middle of a call that waits for one: under an event loop in a task of
-- its own, so that it may wait there and the call's deadline holds; else by the call itself.
-- @module tidepool.password
local compat = require "tidepool.compat"
local core = require "tidepool.core"

local M = {}

local pcall = compat.pcall

local function words_of(err)
    if type(err) == "table" and err.message then
        err = err.message
    end
    return (tostring(err):gsub("[%s%c]+", " "))
end

-- What is wrong with a password, if anything is. libpq takes it as a C string.
local function fault_of(password)
    if type(password) ~= "string" then
        return ("the password function returned %s"):format(password == nil and "nil" or "a " .. type(password))
    elseif password == "" or password:find("\0", 1, true) then
        return "the password function returned text that is empty or has a NUL in it"
    end
    return nil
end

-- An error that is raised is a mistake of the program's, and fails whoever waits; nil and why may pass by itself.
local function answer(db, ticket, fn)
    local ok, password, why = pcall(fn, {
        host = db:option "host", port = tonumber(db:option "port"), user = db:option "user",
        database = db:option "database",
    })
    if not ok then
        core.give_password(db, ticket, nil, "the password function raised: " .. words_of(password), false)
    elseif password == nil and why ~= nil then
        core.give_password(db, ticket, nil, words_of(why), true)
    elseif fault_of(password) then
        core.give_password(db, ticket, nil, fault_of(password), false)
    else
        core.give_password(db, ticket, password)
    end
end

--- Gives a new database the function that the core calls.
-- @param db the database
-- @param fn the program's, or nil
function M.attach(db, fn)
    if not fn then
        return
    end
    db:_state().on_password = function(self, ticket, hub)
        if not hub then
            return answer(self, ticket, fn)
        end
        local ok, err = pcall(hub.adapter.spawn, function() answer(self, ticket, fn) end)
        if not ok then
            core.give_password(self, ticket, nil, "the loop has no task for it: " .. words_of(err), true)
        end
    end
end

return M
