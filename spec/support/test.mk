# Building and running the tests. run_tests.sh runs them and sums up.

test_helpers = $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out spec/core/test_%,$(wildcard spec/core/*.c)))
core_tests = $(patsubst spec/core/%.c,$(OUT)/test-bin/%,$(wildcard spec/core/test_*.c))
binding_tests = $(patsubst spec/binding/%.c,$(OUT)/test-bin/%,$(wildcard spec/binding/*.c))

# A module of the specs, where the Lua that runs them finds it.
process_module = $(OUT)/lua/spec/support/process.so
# Preloaded into programs of the specs, which find them by the same path.
preloaded = $(patsubst %,$(OUT)/lua/spec/support/%.so,jumping_clock failing_malloc)

# Which programs there are for a Lua: those of the core and those that embed Lua are for 5.4 only.
programs = $(if $(filter 5.4,$(LUA_VERSION)),$(core_tests) $(binding_tests)) \
	$(if $(filter asan tsan,$(VARIANT))$(filter jit,$(LUA_VERSION)),$(lua_host))
# The other Luas whose headers are here.
other_luas = $(foreach v,5.1 5.2 5.3 5.5 jit,$(shell $(PKG_CONFIG) --exists lua$(v) 2>/dev/null && echo $(v)))

.PHONY: test test-asan test-tsan coverage spec quote-soak listen-soak test-programs run-tests

test: ## Install what is missing, build, and run all tests against a throwaway PostgreSQL (LUA_VERSION=5.1: of that Lua)
	@spec/support/deps.sh test
	@spec/support/deps.sh luas || echo 'tidepool: the tests run on the Luas that are there'
	@spec/support/deps.sh fuzz || echo 'tidepool: the fuzz targets run where clang is there'
	@$(if $(filter file,$(origin LUA_VERSION)),MAKE='$(MAKE)' spec/support/test_luas.sh 5.4 soak fuzz $(other_luas),$(MAKE) run-tests)

test-asan: ## The same tests under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
	@spec/support/deps.sh test
	@$(MAKE) VARIANT=asan run-tests

test-tsan: ## The same tests under ThreadSanitizer
	@spec/support/deps.sh test
	@$(MAKE) VARIANT=tsan run-tests

coverage: ## The same tests, then the lines of C that they reached, file by file
	@spec/support/deps.sh test
	@find $(BUILD)/coverage -name '*.gcda' -delete 2>/dev/null || true
	@code=0; $(MAKE) VARIANT=coverage run-tests || code=$$?; spec/support/coverage.sh $(BUILD)/coverage/obj; exit $$code

spec: ## Run one test file: make spec FILE=spec/pool_spec.lua (ARGS='--filter=word', VARIANT=asan, LUA_VERSION=5.1)
	@test -n '$(FILE)' || { echo 'usage: make spec FILE=spec/..._spec.lua or FILE=spec/core/test_....c' >&2; exit 2; }
	@$(MAKE) run-tests

quote-soak: ## A million random identifiers and literals to the server and back (COUNT=10000000 SEED=1)
	@TIDEPOOL_TEST_DEADLINE=36000 COUNT=$(or $(COUNT),1000000) $(if $(SEED),SEED=$(SEED)) $(MAKE) run-tests FILE=spec/quote_spec.lua

listen-soak: ## A hundred thousand notifications while the server is restarted (COUNT=1000000 SENDERS=8)
	@TIDEPOOL_TEST_DEADLINE=36000 COUNT=$(or $(COUNT),100000) SENDERS=$(or $(SENDERS),4) $(MAKE) run-tests FILE=spec/listen_soak_spec.lua

run-tests:
	@$(MAKE) -s $(parallel) all test-programs
	@$(LUA_ENV) BUSTED_ARGS='$(ARGS)' spec/support/run_tests.sh $(VARIANT) $(OUT) $(FILE)

test-programs: $(programs) $(process_module) $(preloaded)

$(process_module): $(OUT)/obj/spec/support/process.o
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^

# Without sanitizers, whose libraries have to be loaded before any other.
$(preloaded): $(OUT)/lua/%.so: %.c
	@mkdir -p $(@D)
	$(CC) $(TP_CPPFLAGS) -std=c11 -O2 -fPIC $(WARNINGS) -shared -o $@ $< -ldl

$(lua_host): $(OUT)/obj/spec/support/lua_host.o
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LUA_LIBS)

$(core_tests): $(OUT)/test-bin/%: $(OUT)/obj/spec/core/%.o $(test_helpers) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS) -lm

# Programs that embed Lua link the module into themselves.
$(binding_tests): $(OUT)/test-bin/%: $(OUT)/obj/spec/binding/%.o $(binding_objects) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(LUA_LIBS) -lm

-include $(OUT)/obj/spec/support/process.d
-include $(patsubst $(OUT)/test-bin/%,$(OUT)/obj/spec/core/%.d,$(core_tests)) $(patsubst %.o,%.d,$(test_helpers))
-include $(patsubst $(OUT)/test-bin/%,$(OUT)/obj/spec/binding/%.d,$(binding_tests))
