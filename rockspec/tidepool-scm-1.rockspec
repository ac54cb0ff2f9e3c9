rockspec_format = "3.0"
package = "tidepool"
version = "scm-1"

source = {
    url = "file://.", -- `luarocks make` builds the checkout it is run in
}

description = {
    summary = "A PostgreSQL client and connection pool",
    detailed = [[
tidepool is a PostgreSQL client and connection pool: a C core over libpq does pooling, retries, transactions, TLS and
statistics, and plain Lua modules on top give what an application's data layer needs.]],
    license = "MIT",
    labels = { "database", "postgresql", "pool" },
}

supported_platforms = { "unix" }

dependencies = {
    "lua >= 5.1, < 5.6",
}

-- The Makefile finds libpq with pg_config (Debian keeps its headers in a folder of their own, where
-- external_dependencies does not look) and OpenSSL with pkg-config, and says which package is missing. Other places
-- are named in the environment: PQ_CFLAGS=-I... PQ_LIBS="-L... -lpq" luarocks make
build = {
    type = "make",
    build_target = "all",
    variables = {
        CC = "$(CC)",
        CFLAGS = "$(CFLAGS)",
        LUA_CFLAGS = "-I$(LUA_INCDIR)",
    },
    install_variables = {
        LUA_LIBDIR = "$(LIBDIR)",
        LUA_SHAREDIR = "$(LUADIR)",
        BINDIR = "$(BINDIR)", -- LuaRocks puts a script there that finds the rock
    },
}
