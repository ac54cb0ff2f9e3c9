# tidepool: `make help` lists what there is to call. What only tests and checks need is in spec/support/*.mk.
#
# Products, apart for each VARIANT (default, asan, tsan, coverage): $(BUILD)/$(VARIANT)/. What depends on Lua lies in
# $(BUILD)/lua$(LUA_VERSION)/ for any LUA_VERSION (5.1, 5.2, 5.3, 5.5, jit) but 5.4.
#   libtidepool.a           the C core
#   lua/tidepool/core.so    the Lua module tidepool.core: core and binding in one
#   test-bin/               the C test programs
#   obj/                    objects and their dependencies

LUA_VERSION ?= 5.4
CC ?= cc
AR ?= ar
BUILD ?= build
VARIANT ?= default
PREFIX ?= /usr/local
LUA_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION:jit=5.1)
LUA_SHAREDIR ?= $(PREFIX)/share/lua/$(LUA_VERSION:jit=5.1)
BINDIR ?= $(PREFIX)/bin
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

CORE = $(BUILD)/$(VARIANT)
OUT = $(if $(filter 5.4,$(LUA_VERSION)),$(CORE),$(BUILD)/lua$(LUA_VERSION)$(patsubst %,-%,$(filter-out default,$(VARIANT))))
# LuaJIT is run by a small program of ours: Debian's cannot be installed beside OpenResty's library.
lua_host = $(OUT)/test-bin/lua_host
LUA ?= $(if $(filter jit,$(LUA_VERSION)),$(abspath $(lua_host)),lua$(LUA_VERSION))

# Where libpq, OpenSSL and Lua are. Asked on first use and then kept, so that `make demo` and `make deps` work where
# the programs that answer are still missing. Each can be given instead: make PQ_CFLAGS=-I/opt/pg/include
PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
ask = $(eval $(1) := $(shell { $(2); } 2>/dev/null))$($(1))
PQ_CFLAGS ?= $(call ask,PQ_CFLAGS,$(PG_CONFIG) --includedir | sed 's/^/-I/')
PQ_LIBS ?= $(call ask,PQ_LIBS,$(PG_CONFIG) --libdir | sed 's/^.*/-L& -lpq/')
SSL_CFLAGS ?= $(call ask,SSL_CFLAGS,$(PKG_CONFIG) --cflags openssl)
SSL_LIBS ?= $(call ask,SSL_LIBS,$(PKG_CONFIG) --libs openssl)
lua_names = lua$(LUA_VERSION) lua-$(LUA_VERSION) lua$(subst .,,$(LUA_VERSION))
LUA_CFLAGS ?= $(call ask,LUA_CFLAGS,for name in $(lua_names); do $(PKG_CONFIG) --cflags $$name && break; done)
LUA_LIBS ?= $(call ask,LUA_LIBS,for name in $(lua_names); do $(PKG_CONFIG) --libs $$name && break; done)
lua_packages = 5.1:liblua5.1-0-dev jit:libluajit2-5.1-dev
lua_package = $(or $(patsubst $(LUA_VERSION):%,%,$(filter $(LUA_VERSION):%,$(lua_packages))),liblua$(LUA_VERSION)-dev)

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wpointer-arith -Wstrict-prototypes \
	-Wmissing-prototypes -Wformat=2 -Wundef
OPTIMIZE.default = -O2
OPTIMIZE.asan = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
OPTIMIZE.tsan = -O1 -fno-omit-frame-pointer -fsanitize=thread
OPTIMIZE.coverage = -O0 --coverage
OPTIMIZE = $(or $(OPTIMIZE.$(VARIANT)),-O2)
TP_CPPFLAGS = -D_GNU_SOURCE -Icore/include -Icore/src $(PQ_CFLAGS) $(SSL_CFLAGS)
TP_CFLAGS = -std=c11 $(OPTIMIZE) -g -fPIC -fvisibility=hidden -pthread $(WARNINGS) $(EXTRA_CFLAGS) $(CFLAGS)
LIBS = $(PQ_LIBS) $(SSL_LIBS) -pthread

MODULE = $(OUT)/lua/tidepool/core.so
LIBRARY = $(CORE)/libtidepool.a
core_objects = $(patsubst %.c,$(CORE)/obj/%.o,$(wildcard core/src/*.c))
binding_objects = $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard lua/binding/*.c))

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL = all
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help demo deps install clean always

all: $(LIBRARY) $(MODULE) ## Build the library and the Lua module (what `make` alone does)

$(LIBRARY): $(core_objects)
	rm -f $@ && $(AR) rcs $@ $^

# nodelete: the core's thread outlives the Lua state that loaded the module.
$(MODULE): $(core_objects) $(binding_objects)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^ $(LIBS)

compile = $(CC) $(TP_CPPFLAGS) $(CPPFLAGS) $(1) $(TP_CFLAGS) -MMD -MP -c -o $@ $<

$(CORE)/obj/core/%.o: core/%.c Makefile | $(OUT)/toolchain
	@mkdir -p $(@D)
	$(call compile)

$(OUT)/obj/%.o: %.c Makefile | $(OUT)/toolchain
	@mkdir -p $(@D)
	$(call compile,$(if $(filter spec/core/%,$<),,$(LUA_CFLAGS)))

# Built anew for the headers of another Lua, which LuaRocks may name.
$(binding_objects): $(OUT)/lua_cflags
$(OUT)/lua_cflags: always
	@mkdir -p $(@D)
	@echo '$(strip $(LUA_CFLAGS))' | cmp -s - $@ || echo '$(strip $(LUA_CFLAGS))' >$@

-include $(patsubst %.o,%.d,$(core_objects) $(binding_objects))

# Once per variant and Lua: are the headers there? The compiler is the one that knows.
has = printf '\#include <$(1)>\n' | $(CC) $(TP_CPPFLAGS) $(CPPFLAGS) $(LUA_CFLAGS) -E - >/dev/null 2>&1 \
	|| { echo "tidepool: $(1) not found: $(2)" >&2; exit 1; }
$(OUT)/toolchain:
	@command -v $(firstword $(CC)) >/dev/null || { echo "tidepool: no C compiler ($(CC)): install gcc" >&2; exit 1; }
	@$(call has,libpq-fe.h,install libpq-dev with its pg_config on the PATH or set PQ_CFLAGS and PQ_LIBS)
	@$(call has,openssl/ssl.h,install libssl-dev or set SSL_CFLAGS and SSL_LIBS)
	@$(call has,lua.h,install $(lua_package) and pkg-config or set LUA_CFLAGS)
	@mkdir -p $(@D) && touch $@

# Lua as programs of this tree see it: the module just built before any that is installed.
LUA_ENV = env -u LUA_INIT $(foreach v,5_2 5_3 5_4 5_5,-u LUA_INIT_$(v) -u LUA_PATH_$(v) -u LUA_CPATH_$(v)) \
	LUA='$(LUA)' LUA_VERSION='$(LUA_VERSION)' \
	LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;' \
	LUA_CPATH='$(abspath $(OUT))/lua/?.so;;'
parallel = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS))

demo: ## Install what is missing, build, and show tidepool at work on a throwaway PostgreSQL
	@spec/support/deps.sh demo
	@$(MAKE) -s $(parallel) all $(if $(filter jit,$(LUA_VERSION)),$(lua_host))
	@$(LUA_ENV) spec/support/pg.sh run $(LUA) examples/demo/main.lua

deps: ## Install what building, testing and checking need (Debian: root or sudo; elsewhere: say what is missing)
	@spec/support/deps.sh demo test luas lint fuzz

include spec/support/test.mk spec/support/lint.mk spec/support/bench.mk spec/support/openresty.mk spec/support/fuzz.mk \
	spec/support/soak.mk

# The program is run by the Lua that it was installed for.
is_it = assert((jit and "jit" or _VERSION:match "[%d.]+") == "$(LUA_VERSION)")
lua_program = $(or $(call ask,lua_found,for name in $(lua_names) lua; do \
	$$name -e '$(is_it)' && command -v $$name && break; done),/usr/bin/env lua$(LUA_VERSION))

install: all ## Install the Lua module and the program tidepool under PREFIX (or LUA_LIBDIR, LUA_SHAREDIR and BINDIR)
	install -d '$(DESTDIR)$(LUA_LIBDIR)/tidepool' '$(DESTDIR)$(LUA_SHAREDIR)' '$(DESTDIR)$(BINDIR)'
	install -m 755 $(MODULE) '$(DESTDIR)$(LUA_LIBDIR)/tidepool/core.so'
	cd lua && find tidepool -name '*.lua' -exec install -D -m 644 {} '$(DESTDIR)$(LUA_SHAREDIR)/{}' \;
	sed '1s|.*|#!$(lua_program)|' lua/bin/tidepool >'$(DESTDIR)$(BINDIR)/tidepool'
	chmod 755 '$(DESTDIR)$(BINDIR)/tidepool'

clean: ## Remove everything that was built
	rm -rf $(BUILD)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
