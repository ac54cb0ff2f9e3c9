# What runs in nginx: the example, and its benchmark.
#
#   make bench-openresty ROUNDS=5 SECONDS=3 POOL=16 PGMOON=folder-of-pgmoon

.PHONY: demo-openresty bench-openresty bench-http soak-openresty page-shots module-jit

module-jit:
	@$(MAKE) -s $(parallel) LUA_VERSION=jit all

demo-openresty: ## Show a service on nginx (examples/openresty) at work on a throwaway PostgreSQL
	@spec/support/deps.sh demo openresty
	@$(MAKE) module-jit
	@env LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;' LUA_CPATH='$(abspath $(BUILD))/luajit/lua/?.so;;' \
		spec/support/pg.sh run examples/openresty/demo.sh

bench-openresty: ## Measure tidepool in nginx beside pgmoon: make bench-openresty ROUNDS=5 SECONDS=3 PGMOON=folder
	@spec/support/deps.sh demo openresty
	@$(MAKE) module-jit
	@$(MAKE) -s $(parallel) bench-build
	@$(LUA_ENV) spec/support/pg.sh run spec/bench/openresty.sh \
		rounds=$(ROUNDS) seconds=$(SECONDS) pool=$(POOL) pgmoon=$(PGMOON) bin=$(bench_bin)

bench-http: ## Measure what a scrape of the metrics costs a service on nginx: make bench-http ROUNDS=3 SECONDS=5
	@spec/support/deps.sh test openresty
	@$(MAKE) module-jit
	@$(MAKE) -s $(parallel) all
	@$(LUA_ENV) spec/support/pg.sh run $(LUA) spec/bench/http.lua rounds=$(ROUNDS) seconds=$(SECONDS)

page-shots: ## Screenshots of the page of tidepool.http, in chromium: idle, under load, with the database down (build/page)
	@spec/support/deps.sh test openresty page
	@$(MAKE) module-jit
	@$(MAKE) -s $(parallel) all
	@$(LUA_ENV) spec/support/pg.sh run $(LUA) spec/support/page_shots.lua

soak-openresty: ## Abuse a service on nginx: clients that go, requests that exit, reloads: make soak-openresty REQUESTS=100000
	@spec/support/deps.sh demo openresty
	@$(MAKE) module-jit
	@$(MAKE) -s $(parallel) all
	@$(LUA_ENV) spec/support/pg.sh run sh -c '"$$TIDEPOOL_TEST_BINDIR/psql" -qX -d "$$DATABASE_URL" -f spec/bench/tables.sql \
		&& exec $(LUA) spec/bench/openresty_abuse.lua requests=$(REQUESTS) reloads=$(RELOADS)'
