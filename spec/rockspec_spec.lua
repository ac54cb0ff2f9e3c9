--- The rockspec: LuaRocks finds it, builds and installs.
-- Only Lua 5.4: it builds for another one, too.
local server = require "spec.support.server"

local PROGRAM = [[
    local tidepool = require "tidepool"
    local db = assert(tidepool.open(os.getenv "DATABASE_URL"))
    local answer = db:value("select $1::int + 1", 41)
    print(_VERSION, type(tidepool._VERSION), debug.getinfo(tidepool.open, "S").source, answer)
    db:close()]]

local COMMAND = "cd / && env -u LUA_PATH -u LUA_CPATH %s/bin/tidepool query --no-header 'select 41 + 1'"

describe("the rockspec", function()
    local tree

    setup(function()
        tree = server.sh("mktemp -d /tmp/tidepool.rock.XXXXXX"):match("%S+")
    end)

    teardown(function()
        server.sh("rm -rf " .. tree)
    end)

    -- `where` is for make: the folder of what depends on Lua.
    local function installs(version, where)
        local output, code = server.sh(("MAKEFLAGS='%s' luarocks --lua-version %s make --deps-mode none --tree %s")
            :format(where, version, tree))
        assert.equal(0, code, output)

        local path = "LUA_PATH='%s/share/lua/%s/?.lua;%s/share/lua/%s/?/init.lua;;' LUA_CPATH='%s/lib/lua/%s/?.so;;'"
        local command = "cd / && DB_LOG_QUERIES=false " .. path .. " lua%s -e '%s'"
        output = server.sh(command:format(tree, version, tree, version, tree, version, version, PROGRAM))
        assert.equal(("Lua %s\tstring\t@%s/share/lua/%s/tidepool/init.lua\t42\n")
            :format(version, tree, version), output)
        assert.equal("42\r\n", (server.sh(COMMAND:format(tree))))
    end

    it("is found and installed by `luarocks make`, and the module then works from any folder", function()
        installs("5.4", "")
    end)

    it("is installed for another Lua too, with the headers that LuaRocks names", function()
        if server.sh "pkg-config --exists lua5.1 || echo no" == "no\n" then
            pending "there are no headers of Lua 5.1"
            return
        end
        installs("5.1", " -- OUT=build/rock5.1")
        server.sh "rm -rf build/rock5.1"
    end)
end)

describe("make install", function()
    it("puts the module and the program under PREFIX, and the program finds the module", function()
        local prefix = server.sh("mktemp -d /tmp/tidepool.prefix.XXXXXX"):match "%S+"
        local output, code = server.sh("make -s install PREFIX=" .. prefix)
        assert.equal(0, code, output)
        output = server.sh(COMMAND:format(prefix))
        server.sh("rm -rf " .. prefix)
        assert.equal("42\r\n", output)
    end)
end)
