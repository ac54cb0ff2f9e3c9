--- The rockspec: LuaRocks builds and installs with it.
-- Only Lua 5.4: it builds for each Lua that there is.
local server = require "spec.support.server"

describe("the rockspec", function()
    local tree

    setup(function()
        tree = server.sh("mktemp -d /tmp/tidepool.rock.XXXXXX"):match("%S+")
    end)

    teardown(function()
        server.sh("rm -rf " .. tree)
    end)

    it("is found and installed by `luarocks make`, and the module then works from any folder", function()
        local output, code = server.sh("luarocks --lua-version 5.4 make --deps-mode none --tree " .. tree)
        assert.equal(0, code, output)

        local program = [[
            local tidepool = require "tidepool"
            local db = assert(tidepool.open(os.getenv "DATABASE_URL"))
            local answer = db:value("select $1::int + 1", 41)
            print(type(tidepool._VERSION), package.searchpath("tidepool", package.path), answer)
            db:close()]]
        local path = "LUA_PATH='%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua;;' LUA_CPATH='%s/lib/lua/5.4/?.so;;'"
        local command = "cd / && DB_LOG_QUERIES=false " .. path .. " %s -e '%s'"
        output = server.sh(command:format(tree, tree, tree, os.getenv "LUA" or "lua5.4", program))
        assert.equal("string\t" .. tree .. "/share/lua/5.4/tidepool/init.lua\t42\n", output)
    end)
end)
