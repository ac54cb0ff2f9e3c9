# Rates and ratios. Nothing here fails on a slow machine: figures are for reading.
#
#   make bench ROUNDS=7 ONLY=W1,W3 PEERS=none EACH_ROWS=10000000 DEADLINE=60
#
# ONLY: groups of spec/bench/workloads.lua; PEERS: none, or keys of spec/bench/contestants.lua; DEADLINE: seconds that a
# contestant has for one round.

.PHONY: bench bench-build bench-deps bench-loops bench-adaptive bench-stats

bench_bin = $(OUT)/bench
bench_c = contest libpq_main libpq_queries libpq_workers libpq_bulk pool_rate stats_rate
bench_object = $(1:%=$(OUT)/obj/spec/bench/%.o)
BENCH_CPATH = $(abspath $(OUT))/lua/?.so;$(abspath $(bench_bin))/?.so;;

bench: ## Measure speed and memory beside C on libpq and the peers that are installed: make bench ROUNDS=7 ONLY=W1,W3
	@spec/support/deps.sh demo
	@$(MAKE) -s $(parallel) bench-build
	@$(LUA_ENV) LUA_CPATH='$(BENCH_CPATH)' spec/support/pg.sh run spec/bench/run.sh \
		rounds=$(ROUNDS) only=$(ONLY) peers=$(PEERS) each_rows=$(EACH_ROWS) deadline=$(DEADLINE) \
		bin=$(bench_bin) installed=$(abspath $(BUILD))/bench json=$(BUILD)/bench.json
	@$(if $(ONLY),,$(MAKE) -s bench-stats)

# What an event loop feels: first the figures of very many waiters, then those of whatever may hold it up.
bench-loops: ## Measure what tidepool costs an event loop: ten thousand waiters, and a clock beside every trouble: LOOPS=luv MS=1000
	@spec/support/deps.sh demo test
	@spec/support/deps.sh luas openresty || echo 'tidepool: without what is not there'
	@$(MAKE) -s $(parallel) all
	@$(LUA_ENV) spec/support/pg.sh run spec/bench/loops.sh loops=$(LOOPS) ms=$(MS) only=$(ONLY)

bench-adaptive: ## Measure a pool that finds its size beside fixed sizes: SECONDS=4 ROUNDS=3 WARM=20
	@spec/support/deps.sh demo test
	@$(MAKE) -s $(parallel) all
	@$(LUA_ENV) $(foreach v,SECONDS ROUNDS WARM,$(if $($v),$v=$($v))) spec/support/pg.sh run $(LUA) spec/bench/adaptive.lua

bench-stats: ## Measure what the statistics cost beside a build without them, and what a hook costs: N=5000 ROUNDS=5
	@spec/support/deps.sh demo test
	@$(MAKE) -s $(parallel) all $(bench_bin)/stats_rate
	@$(MAKE) -s $(parallel) VARIANT=no_stats EXTRA_CFLAGS='$(EXTRA_CFLAGS) -DTP_NO_STATS' all $(BUILD)/no_stats/bench/stats_rate
	@$(LUA_ENV) $(foreach v,N ROUNDS,$(if $($v),$v=$($v))) spec/support/pg.sh run $(LUA) spec/bench/stats.lua \
		$(abspath $(OUT)) $(abspath $(BUILD))/no_stats

bench-deps: ## Install the peers that make bench compares with, as far as they can be had
	@spec/bench/peers/install.sh $(abspath $(BUILD))/bench

bench-build: all $(bench_bin)/libpq $(bench_bin)/pool_rate $(bench_bin)/freelist.so $(bench_bin)/bench_host.so

$(bench_bin)/libpq: $(call bench_object,$(filter-out pool_rate stats_rate,$(bench_c)))
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(bench_bin)/pool_rate: $(call bench_object,pool_rate contest) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(bench_bin)/stats_rate: $(call bench_object,stats_rate) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(bench_bin)/freelist.so: spec/bench/freelist.c
	@mkdir -p $(@D)
	$(CC) $(LUA_CFLAGS) $(filter-out -fvisibility=hidden,$(TP_CFLAGS)) -shared -o $@ $<

$(bench_bin)/bench_host.so: spec/bench/host.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE $(LUA_CFLAGS) $(filter-out -fvisibility=hidden,$(TP_CFLAGS)) -shared -o $@ $<

-include $(patsubst %.o,%.d,$(call bench_object,$(bench_c)))
