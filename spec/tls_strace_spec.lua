--- No byte of a certificate or key that was given in memory gets to a disk: a whole run, as the kernel saw it.
-- Only Lua 5.4: what is tested is the core's and libpq's.
local child = require "spec.support.child"
local pki = require "spec.support.pki"
local server = require "spec.support.server"
local tls = require "spec.support.tls"

-- Connects, reloads, connects again, and ends.
local PROGRAM = [[
    local function value(name) return os.getenv("PEM_" .. name) end
    local db = assert(require("tidepool").open {
        url = arg[1], tls = { ca = value "CA", cert = value "CERT", key = value "KEY", crl = value "CRL" },
        pool = { min = 0 }, log = { queries = false },
    })
    print(db:value "select 1")
    assert(db:reload_tls())
    print(db:value "select 2")
    db:close()
]]
local CALLS = "write,pwrite64,writev,pwritev,pwritev2,sendfile,splice,copy_file_range,vmsplice,"
    .. "memfd_create,mkdir,unlink"

describe("a run with certificates as base64", function()
    local folder, environment, why_not
    setup(function()
        folder = assert(pki.make())
        tls.serve(folder, "good")
        environment = { LUA = child.lua, DATABASE_URL = server.url {
            host = "localhost", hostaddr = "127.0.0.1", sslmode = "verify-full" } }
        -- Nobody can look for leaks in a process that is traced.
        environment.ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":detect_leaks=0"
        for name, file in pairs { CA = "ca.crt", CERT = "client.crt", KEY = "client.key", CRL = "ca.crl" } do
            environment["PEM_" .. name] = pki.base64(pki.read(folder .. "/" .. file))
        end
        local output, code = server.sh "strace -f -y -e trace=none true"
        why_not = code ~= 0 and "processes cannot be traced here: " .. output
    end)
    teardown(function()
        tls.disable()
        pki.remove(folder)
    end)

    -- Lines of every secret or certificate that tell it from any other, in the forms that could be written.
    local function marks()
        local list = {}
        for _, file in ipairs { "ca.crt", "client.crt", "client.key", "ca.crl" } do
            local text = pki.read(folder .. "/" .. file)
            list[#list + 1] = text:match "%-%-%-\n([^\n]+)\n"          -- of the PEM
            list[#list + 1] = pki.base64(text):sub(61, 120)              -- of its base64
        end
        assert(#list == 8)
        return list
    end

    -- Traces the program. Returns the writes of marked bytes: a list of the files' names, each with the line.
    local function traced(inject)
        local program, trace = folder .. "/program.lua", folder .. "/trace"
        pki.write(program, PROGRAM)
        local words = { "env" }
        for name, value in pairs(environment) do
            words[#words + 1] = ("%s='%s'"):format(name, value)
        end
        local output, code = server.sh(("%s strace -f -y -s 100000 %s -e trace=%s -o %s %s %s '%s'"):format(
            table.concat(words, " "), inject or "", CALLS, trace, child.lua, program, environment.DATABASE_URL))
        assert.equal("1\n2\n", output)
        assert.equal(0, code)
        local found = {}
        for line in io.lines(trace) do
            for _, mark in ipairs(marks()) do
                if line:find(mark, 1, true) then
                    found[#found + 1] = line:match "^%d+%s+%w+%(%d+<([^>]*)>" or line
                    break
                end
            end
        end
        return found, pki.read(trace)
    end

    it("writes them to sealed memory alone", function()
        if why_not then return pending(why_not) end
        local found, trace = traced()
        assert.equal(8, #found) -- four files, twice
        for _, name in ipairs(found) do
            assert.truthy(name:find "^/memfd:tidepool%-pem", name)
        end
        assert.is_nil(trace:find 'mkdir%("[^"]*/tidepool%-%w+"')
    end)

    it("would be seen to write elsewhere: where there is no memfd, to files that are gone at the end", function()
        if why_not then return pending(why_not) end
        local found, trace = traced "-e inject=memfd_create:error=ENOSYS"
        assert.equal(8, #found)
        for _, name in ipairs(found) do
            local where = assert(name:match "^(/.+/tidepool%-%w+)/tidepool%.pem$", name)
            assert.is_nil(io.open(name))
            assert.truthy(trace:find(('mkdir("%s", 0700)'):format(where), 1, true), where)
            assert.truthy(trace:find(('unlink("%s")'):format(name), 1, true), name)
        end
    end)
end)
