--- Screenshots of the page, for people to look at: idle, under load and with the database down; light, dark and at the
--- width of a phone. `make page-shots` puts them into build/page.
local nginx = require "spec.support.nginx"
local page = require "spec.support.page"
local server = require "spec.support.server"

local FOLDER, SECONDS = "build/page", 20

local FILES = {
    ["db.lua"] = [[return assert(require "tidepool".open {
        name = "shop", application_name = "shop-backend", pool = { min = 2, max = 8 },
        log = { queries = false, slow_ms = 100 }, retry = { base_ms = 50, max_ms = 500 },
    })]],
}

-- A load with all there is to see: errors, slow queries, holders, and two that want one lock.
local SERVER = [[
    location / { content_by_lua_block { require("tidepool.http").nginx(require "db") } }
    location = /work {
        content_by_lua_block {
            local db, what = require "db", math.random(300)
            if what == 1 then db:query "selec" elseif what == 2 then db:query "select pg_sleep(0.15)"
            elseif what == 3 then
                db:transaction(function(tx)
                    tx:value "select pg_advisory_xact_lock(42)"
                    tx:value "select pg_sleep(1)"
                end)
            else db:query("select pg_sleep($1), repeat('x', 10)", math.random() * 0.01) end
            ngx.print "done"
        }
    }
]]

local views = {
    { "light", width = 1280, height = 2000 }, { "dark", width = 1280, height = 2000, dark = true },
    { "phone", width = 390, height = 3400 }, { "phone-dark", width = 390, height = 3400, dark = true },
}

local function shoot(url, name)
    for _, view in ipairs(views) do
        local path = ("%s/%s-%s.png"):format(FOLDER, name, view[1])
        local _, console = page.look(url,
            { width = view.width, height = view.height, dark = view.dark, screenshot = path })
        print(path .. " " .. console)
    end
end

local function run(site, url)
    server.wait(function() return site:get "/tidepool/health" end)
    shoot(url, "idle")
    local address = url:gsub("/tidepool/$", "/work")
    server.sh(("wrk -t 1 -c 12 -d %ds %s >/dev/null 2>&1 &"):format(SECONDS * 2, address))
    server.sleep(SECONDS * 1000)
    shoot(url, "load")
    server.stop_fast()
    server.sleep(3000)
    shoot(url, "down")
    server.start_again()
end

server.sh("mkdir -p " .. FOLDER)
local port = math.random(20000, 32000)
local site = nginx.start { server = SERVER, files = FILES, listen = "127.0.0.1:" .. port }
local good, problem = pcall(run, site, ("http://127.0.0.1:%d/tidepool/"):format(port))
site:stop()
if not good then
    io.stderr:write(tostring(problem), "\n")
    os.exit(1)
end
