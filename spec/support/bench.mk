# Rates and ratios. Nothing here fails on a slow machine: figures are for reading.

.PHONY: bench

bench: ## Print what acquire + release costs, in C and from Lua, beside a bare free list
	@spec/support/deps.sh demo
	@$(MAKE) -s $(parallel) all $(OUT)/bench/pool_rate $(OUT)/bench/freelist.so
	@$(OUT)/bench/pool_rate
	@$(LUA_ENV) LUA_CPATH='$(abspath $(OUT))/lua/?.so;$(abspath $(OUT))/bench/?.so;;' \
		spec/support/pg.sh run $(LUA) spec/bench/acquire_rate.lua

$(OUT)/bench/pool_rate: $(OUT)/obj/spec/bench/pool_rate.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(OUT)/bench/freelist.so: spec/bench/freelist.c
	@mkdir -p $(@D)
	$(CC) $(LUA_CFLAGS) $(filter-out -fvisibility=hidden,$(TP_CFLAGS)) -shared -o $@ $<
