--- Output of busted for run_tests.sh: failures in full as they happen, why a test was skipped, then "passed failed
--- skipped" in the file that TIDEPOOL_REPORT names. A person's run of one file gets a line per test as well (-Xoutput
--- verbose).
local pretty = require "pl.pretty"

local function where(failure)
    local trace = failure.element.trace or failure.trace
    if trace and trace.short_src then
        return ("%s:%s"):format(trace.short_src, trace.currentline)
    end
    return failure.element.name or "?"
end

local function text(message)
    if type(message) == "string" then
        return message
    end
    -- An error object of tidepool says more than its fields.
    local meta = type(message) == "table" and getmetatable(message)
    return meta and meta.__tostring and tostring(message) or pretty.write(message)
end

local function print_failure(kind, failure)
    io.write(("\n%s: %s\n  at %s\n"):format(kind, failure.name, where(failure)))
    io.write("  ", (text(failure.message):gsub("\n", "\n  ")), "\n")
    local traceback = failure.isError and failure.trace and failure.trace.traceback
    if traceback then
        io.write("  ", (traceback:gsub("^%s+", ""):gsub("\n", "\n  ")), "\n")
    end
    io.flush()
end

return function(options)
    local busted = require "busted"
    local handler = require "busted.outputHandlers.base"()
    local verbose = options.arguments[1] == "verbose"

    -- The base handler runs first (priority 1) and has collected the failure by now.
    local function on_failure()
        print_failure("FAILED", handler.failures[#handler.failures])
        return nil, true
    end
    local function on_error()
        print_failure("ERROR", handler.errors[#handler.errors])
        return nil, true
    end
    local function on_failure_elsewhere(element)
        if element.descriptor ~= "it" then
            return on_error()
        end
        return nil, true
    end

    busted.subscribe({ "failure", "it" }, on_failure)
    busted.subscribe({ "error", "it" }, on_error)
    busted.subscribe({ "failure" }, on_failure_elsewhere)
    busted.subscribe({ "error" }, on_failure_elsewhere)
    busted.subscribe({ "test", "end" }, function(element, _, status)
        if status == "pending" then
            local skipped = handler.pendings[#handler.pendings]
            io.write("skipped: ", skipped.name, skipped.message and ": " .. text(skipped.message) or "", "\n")
        end
        if verbose then
            io.write(("  %-8s %s\n"):format(status, handler.getFullName(element)))
            io.flush()
        end
        return nil, true
    end)
    busted.subscribe({ "suite", "end" }, function()
        local path = os.getenv "TIDEPOOL_REPORT"
        local file = path and assert(io.open(path, "w")) or io.stdout
        file:write(("%d %d %d\n"):format(handler.successesCount, handler.failuresCount + handler.errorsCount,
            handler.pendingsCount))
        if path then
            file:close()
        end
        return nil, true
    end)
    return handler
end
