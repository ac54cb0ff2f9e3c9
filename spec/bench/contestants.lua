--- Who takes part: the command of each contestant, `key` in PEERS and in the JSON. Of several commands the first one
--- that is ready wins (there may be more than one Python, and only one of them has the package).
--- @param bin folder of the programs and modules that were built
--- @param installed folder of what `make bench-deps` made: the packages of npm, pgx
return function(bin, installed)
    local here = "spec/bench/"
    local peers = here .. "peers/"
    local lua = os.getenv "LUA" or "lua5.4"

    local function node(file)
        return { { "env", "NODE_PATH=" .. installed .. "/node_modules", "node", peers .. file } }
    end

    local function python(file)
        local commands = {}
        for i, program in ipairs { "python3", "/usr/bin/python3" } do
            commands[i] = { "env", "PYTHONDONTWRITEBYTECODE=1", program, peers .. file }
        end
        return commands
    end

    return {
        { key = "libpq", commands = { { bin .. "/libpq" } } },
        { key = "tidepool", commands = { { lua, here .. "tidepool.lua" } } },
        { key = "cqueues", commands = { { lua, here .. "loops.lua", "cqueues" } } },
        { key = "luv", commands = { { lua, here .. "loops.lua", "luv" } } },
        { key = "core", commands = { { bin .. "/pool_rate" } } },
        { key = "rate", commands = { { lua, here .. "acquire_rate.lua" } } },
        { key = "pgbench", peer = true, commands = { { "bash", peers .. "pgbench.sh" } } },
        { key = "luasql", peer = true, commands = { { lua, peers .. "luasql.lua" } } },
        { key = "luadbi", peer = true, commands = { { lua, peers .. "luadbi.lua" } } },
        { key = "pgmoon", peer = true, commands = { { lua, peers .. "pgmoon.lua" } } },
        { key = "pgx", peer = true, commands = { { installed .. "/pgx" } } },
        { key = "asyncpg", peer = true, commands = python "use_asyncpg.py" },
        { key = "psycopg", peer = true, commands = python "use_psycopg.py" },
        { key = "psycopg2", peer = true, commands = python "use_psycopg2.py" },
        { key = "pg", peer = true, commands = node "node_pg.js" },
        { key = "postgres", peer = true, commands = node "node_postgres.js" },
    }
end
