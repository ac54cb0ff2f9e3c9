# Checks that need no server. Each may be called alone.

c_files = $(wildcard core/include/*.h core/src/*.[ch] lua/binding/*.[ch] spec/core/*.[ch] spec/binding/*.[ch] spec/support/*.[ch] spec/bench/*.[ch] spec/fuzz/*.[ch])
c_sources = $(filter %.c,$(c_files))
lint_objects = $(patsubst %.c,$(OUT)/obj/%.o,$(c_sources))
tidy_stamps = $(patsubst %.c,$(BUILD)/lint-tidy/%.ok,$(filter-out spec/%,$(c_sources)))

.PHONY: lint format check-layers check-length lint-lua lint-sh lint-format lint-warnings lint-tidy lint-objects run-lint

lint: ## Check everything: warnings of gcc and clang as errors, clang-tidy, clang-format, luacheck, layers, lengths
	@spec/support/deps.sh lint
	@$(MAKE) -k $(parallel) run-lint
	@echo 'lint: all is well'

format: ## Format the C sources in place (.clang-format)
	@clang-format -i $(c_files)

check-layers: ## Prove from the #include lines that no file reaches up a layer
	@spec/support/check_layers.sh

check-length: ## Prove that functions stay within 60 lines and files within 600
	@LUA='$(LUA)' spec/support/check_length.sh

run-lint: check-layers check-length lint-lua lint-sh lint-format lint-warnings lint-tidy

lint-lua:
	@luacheck --quiet .

lint-sh:
	@shellcheck spec/support/*.sh spec/bench/*.sh spec/bench/peers/*.sh examples/openresty/*.sh .ci/run

lint-format:
	@clang-format --dry-run -Werror $(c_files)

lint-warnings:
	@$(MAKE) -s VARIANT=lint-gcc CC=gcc EXTRA_CFLAGS=-Werror lint-objects
	@$(MAKE) -s VARIANT=lint-clang CC=clang EXTRA_CFLAGS=-Werror lint-objects

lint-objects: $(lint_objects)

lint-tidy: $(tidy_stamps)

$(BUILD)/lint-tidy/%.ok: %.c .clang-tidy $(filter %.h,$(c_files)) | $(OUT)/toolchain
	@mkdir -p $(@D)
	@clang-tidy --quiet --warnings-as-errors='*' $< -- $(TP_CPPFLAGS) $(LUA_CFLAGS) -std=c11 2>&1 \
		| { ! grep -vE '^[0-9]+ warnings? (generated|treated as errors?)|^Suppressed|^Use -header-filter'; }
	@touch $@

-include $(if $(filter lint-%,$(VARIANT)),$(lint_objects:.o=.d))
