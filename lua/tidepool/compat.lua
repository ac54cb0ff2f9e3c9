--- What differs between the Luas that tidepool runs on: 5.1 to 5.4 and LuaJIT.
-- @module tidepool.compat
local M = {}

--- table.pack and table.unpack of Lua 5.2 and later.
M.pack = table.pack or function(...)
    return { n = select("#", ...), ... }
end
M.unpack = table.unpack or unpack

-- Whether what pcall runs may yield. In Lua 5.1 it may not, in LuaJIT it may. It cannot be tried out: in nginx, resuming
-- a coroutine suspends the running one, which may not be within `require`.
local function has_yielding_pcall()
    return _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil
end

--- A pcall whose function may yield, for functions of the program's. In Lua 5.1 that is coxpcall's where coxpcall is
-- installed; otherwise a transaction cannot yield there.
M.pcall = pcall
--- coroutine.running for one that a loop has to resume: not the one that such a pcall has made.
M.running = coroutine.running
if not has_yielding_pcall() then
    local found, coxpcall = pcall(require, "coxpcall")
    if found then
        M.running = coxpcall.running
        M.pcall = function(fn, ...)
            if not coroutine.running() then -- the main program, which does not yield
                return pcall(fn, ...)
            end
            return coxpcall.pcall(fn, ...)
        end
    end
end

return M
