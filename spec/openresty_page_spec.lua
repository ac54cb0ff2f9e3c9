--- The page of tidepool.http in chromium: what it shows, on a phone too, and what it does when nobody answers.
-- Only Lua 5.4: nginx brings its own Lua.
local nginx = require "spec.support.nginx"
local page = require "spec.support.page"
local server = require "spec.support.server"

local why_not = nginx.absent() or not page.program and "chromium is not installed (spec/support/deps.sh page)"
if why_not then
    return describe("the page", function()
        pending(why_not)
    end)
end

local FILES = {
    ["db.lua"] = [==[
        local core = require "tidepool.core"
        -- As a program's own text would be: it must come out as text.
        core.db_methods.statements = function()
            return {
                { query = "select '<img src=x onerror=alert(1)>'", calls = 7, rows = 7, errors = 0, total_ms = 14.5,
                  mean_ms = 2, p99_ms = 3, max_ms = 4 },
                { query = "select " .. ("long_column_name, "):rep(40) .. "1", calls = 900, rows = 1, errors = 2,
                  total_ms = 5, mean_ms = 0.01, p99_ms = 1, max_ms = 2 },
                { query = "bytes \255\254", calls = 1, rows = 0, errors = 0, total_ms = 1, mean_ms = 1, p99_ms = 1,
                  max_ms = 1 / 0 },
            }
        end
        return assert(require "tidepool".open { name = "shop", pool = { min = 0, max = 3 }, log = { queries = false } })
    ]==],
    -- The page as it is, without what it says about where it may be shown.
    ["bare.lua"] = [==[
        return function()
            local _, _, body = require "tidepool.http".handle(require "db", { method = "GET", path = "/tidepool/" })
            ngx.header.content_type = "text/html; charset=utf-8"
            ngx.print(body)
        end
    ]==],
    ["frame.lua"] = [==[
        return function()
            ngx.header.content_type = "text/html; charset=utf-8"
            ngx.print([[<!doctype html>
                <iframe id="frame" src="/bare/" width="390" height="800" style="border: 0"></iframe>
                <pre id="told"></pre><script>setTimeout(() => {
                    const view = frame.contentWindow, root = frame.contentDocument.documentElement;
                    told.textContent = ]], ngx.unescape_uri(ngx.var.arg_run), [[;
                }, 3000);</script>]])
        end
    ]==],
}

local SERVER = [[
    location / { content_by_lua_block { require("tidepool.http").nginx(require "db") } }
    location = /query { content_by_lua_block { ngx.print(require "db":value "select 42") } }
    location = /bare/ { content_by_lua_block { require "bare" () } }
    location = /bare/data.json { rewrite ^ /tidepool/data.json last; }
    location = /frame { content_by_lua_block { require "frame" () } }
    location = /once/ { content_by_lua_block { require "bare" () } }
    location = /once/data.json {
        content_by_lua_block {
            asked = (asked or 0) + 1
            if asked > 1 then return ngx.exit(503) end
            ngx.req.set_uri("/tidepool/data.json")
            require("tidepool.http").nginx(require "db")
        }
    }
]]

describe("the page", function()
    local site, url

    setup(function()
        for _ = 1, 10 do -- until a port is free
            local port = math.random(20000, 32000)
            local started, made = pcall(nginx.start,
                { server = SERVER, files = FILES, listen = "127.0.0.1:" .. port, main = "worker_processes 1;" })
            if started then
                site, url = made, ("http://127.0.0.1:%d/"):format(port)
                break
            end
        end
        assert.equal("42", site:get "/query")
    end)
    teardown(function()
        if site then site:stop() end
    end)

    local function escaped(text)
        return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
    end

    it("shows the pool, and nothing that a statement's text could put there", function()
        local dom, console = page.look(url .. "tidepool/")
        assert.equal("", console)
        assert.matches('<p id="verdict" class="badge good" role="status">healthy</p>', dom, 1, true)
        assert.matches('<span id="pool">shop</span>', dom, 1, true)
        assert.matches(">select '&lt;img src=x onerror=alert(1)&gt;'</button>", dom, 1, true)
        assert.is_nil(dom:find("<img", 1, true))
        assert.matches(">bytes %?%?</button>", dom)
        assert.matches('<path class="area sky"', dom, 1, true)
        assert.matches('aria%-label="Connections: active %d, idle %d, connecting 0, mending 0"', dom)
        assert.matches('<div class="name">Breaker</div><div class="value">closed</div>', dom, 1, true)
        assert.matches("connections made</dt><dd>1</dd>", dom, 1, true)
    end)

    it("may be run under its policy only as it is", function()
        local policy = site:get("/tidepool/", { show_headers = true }):match "content%-security%-policy: ([^\r]+)"
        assert.matches("default-src 'none'; script-src 'sha256-", policy, 1, true)
        assert.is_nil(policy:find("unsafe", 1, true))
        local body = site:get "/tidepool/"
        assert.is_nil(body:find("https?://[^w]"), "no host but its own")
        assert.is_nil(body:find("innerHTML", 1, true))
        assert.is_nil(body:find("@%u+@"), "all its parts are in it")
    end)

    -- What a script finds in the page, shown 390 pixels wide; it may go on in steps by `return`ing what to tell.
    local function probe(dark, script)
        local dom = page.look(url .. "frame?run=" .. escaped(script), { dark = dark })
        return dom:match '<pre id="told">([^<]*)</pre>'
    end

    it("fits into 390 pixels, light and dark", function()
        local script = "[root.scrollWidth, view.getComputedStyle(root.ownerDocument.body).backgroundColor].join(' ')"
        assert.equal("390 rgb(246, 247, 249)", probe(false, script))
        assert.equal("390 rgb(17, 21, 27)", probe(true, script))
    end)

    it("sorts a table by the column whose heading is pressed, and the other way at the second time", function()
        assert.equal("none select ascending bytes select true", probe(false, [[(() => {
            const heading = [...root.querySelectorAll("th")].find((cell) => cell.textContent === "calls");
            const first = () => heading.closest("table").querySelector("button.sql");
            const told = [heading.getAttribute("aria-sort")];
            heading.firstChild.click();
            told.push(first().textContent.slice(0, 6));
            heading.firstChild.click();
            told.push(heading.getAttribute("aria-sort"), first().textContent.slice(0, 5));
            heading.firstChild.click();
            first().click();
            told.push(first().textContent.slice(0, 6), first().getAttribute("aria-expanded"));
            return told.join(" ");
        })()]]))
    end)

    it("greys its last data, and says so, when the service does not answer any more", function()
        local dom = page.look(url .. "once/")
        assert.matches('<body class="stale">', dom, 1, true)
        assert.matches('stale since %d+:%d+:%d+: the service says 503', dom)
        assert.matches('<p id="verdict" class="badge bad" role="status">no data</p>', dom, 1, true)
        assert.matches("connections made</dt><dd>1</dd>", dom, 1, true)
        assert.matches("<title>no data: shop</title>", dom, 1, true)
    end)

    it("says that the database is away", function()
        server.stop_fast()
        finally(function() server.start_again() end)
        local dom = page.look(url .. "tidepool/")
        assert.matches('class="badge bad" role="status">unhealthy</p>', dom, 1, true)
        assert.matches("the server does not answer: connection", dom, 1, true)
    end)
end)
