# The soak: load of several processes and event loops, faults, and a ledger that is reconciled at the end (spec/soak).
#
#   make soak MINUTES=10 SEED=7
#
# The order of the faults follows from the seed; when exactly they strike does not.

MINUTES ?= 1
soak_run = $(LUA_ENV) spec/support/pg.sh run $(LUA) spec/soak/main.lua build='$(abspath $(BUILD))' seed=$(SEED)

.PHONY: soak soak-smoke soak-programs

soak: ## Load and faults for a while, then a ledger is reconciled: make soak MINUTES=10 SEED=7
	@spec/support/deps.sh test
	@$(MAKE) -s $(parallel) all $(process_module)
	@$(foreach v,$(other_luas),$(MAKE) -s $(parallel) LUA_VERSION=$(v) all soak-programs &&) true
	@$(soak_run) seconds=$$(($(MINUTES) * 60)) luas='$(other_luas)'

soak-smoke: # A minute of it beside other tests, on Lua 5.4 alone: the others are being built and tested.
	@$(MAKE) -s $(parallel) all $(process_module)
	@nice -n 5 $(soak_run) seconds=60 slack=4

# What a worker on another Lua needs.
soak-programs: $(process_module) $(if $(filter jit,$(LUA_VERSION)),$(lua_host))
