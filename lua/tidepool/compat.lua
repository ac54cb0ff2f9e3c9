--- What differs between the Luas that tidepool runs on: 5.1 to 5.4 and LuaJIT.
-- @module tidepool.compat
local M = {}

--- table.pack and table.unpack of Lua 5.2 and later.
M.pack = table.pack or function(...)
    return { n = select("#", ...), ... }
end
M.unpack = table.unpack or unpack

--- An assert that raises any value: that of Lua 5.1 takes no error but a string.
M.assert = assert
if select(2, pcall(assert, false, M)) ~= M then
    M.assert = function(value, ...)
        if value then
            return value, ...
        end
        local err = ...
        error(err == nil and "assertion failed!" or err, 0)
    end
end

-- ------------------------------------------------- a pcall that may be yielded from

-- Whether what pcall calls may yield. In Lua 5.1 it may not, in LuaJIT it may. It cannot be tried out: in nginx,
-- resuming a coroutine suspends the running one, which may not be within `require`.
local function has_yielding_pcall()
    return _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil
end

-- The coroutine of the program's in which one of pcall_in_coroutine's runs. Both ends are weak: the first one lives
-- as long as anything in it runs.
local outermost = setmetatable({}, { __mode = "kv" })

-- What a coroutine has given: its end, or a yield, which the coroutine around it has to make.
local function go_on(co, ok, ...)
    if not ok then
        return false, ...
    elseif coroutine.status(co) == "dead" then
        return true, ...
    end
    return go_on(co, coroutine.resume(co, coroutine.yield(...)))
end

-- The coroutine that the program's own is, whatever has been called by pcall_in_coroutine in it, or by the module
-- coxpcall, which does the same.
local function running()
    local coxpcall = package.loaded.coxpcall
    local co, inner = coroutine.running(), nil
    while co and co ~= inner do
        inner = co
        co = outermost[co] or co
        co = coxpcall and coxpcall.running(co) or co
    end
    return co
end

local function pcall_in_coroutine(fn, ...)
    local here = running()
    if not here then -- the main program, which does not yield
        return pcall(fn, ...)
    end
    local made, co = pcall(coroutine.create, fn)
    if not made then -- a function of C
        co = coroutine.create(function(...) return fn(...) end)
    end
    outermost[co] = here
    return go_on(co, coroutine.resume(co, ...))
end

--- pcall for functions of the program's, which may yield also in Lua 5.1.
M.pcall = pcall

--- coroutine.running for one that a loop has to resume: in Lua 5.1 the coroutine around those that M.pcall makes.
M.running = coroutine.running

if not has_yielding_pcall() then
    M.pcall = pcall_in_coroutine
    M.running = running
end

return M
