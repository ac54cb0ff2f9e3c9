# Fuzzing with clang's libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   make fuzz FUZZ_SECONDS=60                  every target so long, two at a time
#   make fuzz FUZZ_TARGET=json FUZZ_RUNS=1e6   one of them, so many executions
#
# A target is spec/fuzz/fuzz_NAME.c with a LLVMFuzzerTestOneInput (fuzz.h); to add one, add the file, and best a few
# inputs to begin with as spec/fuzz/corpus/NAME/* and words that its format knows as spec/fuzz/NAME.dict. What it finds
# is kept in $(BUILD)/fuzz/corpus/NAME; make fuzz-merge puts what is worth it into spec/fuzz/corpus/NAME.
# Inputs that crash are in $(BUILD)/fuzz/crashes; the report says how to run one.

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_SMOKE_SECONDS ?= 30
fuzz_flags = -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
OPTIMIZE.fuzz = -O1 -fno-omit-frame-pointer $(fuzz_flags)

fuzz_wraps = $(foreach f,PQgetResult PQclear PQgetCopyData PQfreemem,-Wl,--wrap=$f)
fuzz_helpers = $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out spec/fuzz/fuzz_%,$(wildcard spec/fuzz/*.c)))
fuzz_targets = $(patsubst spec/fuzz/%.c,$(OUT)/fuzz-bin/%,$(wildcard spec/fuzz/fuzz_*.c))
fuzz_make = @$(MAKE) -s $(parallel) VARIANT=fuzz CC=$(FUZZ_CC)

.PHONY: fuzz fuzz-smoke fuzz-merge fuzz-record fuzz-programs

fuzz: ## Fuzz parsers, codecs and the answers of servers: make fuzz FUZZ_SECONDS=60 FUZZ_TARGET=json FUZZ_RUNS=1e6
	@spec/support/deps.sh fuzz
	$(fuzz_make) fuzz-programs
	@spec/support/fuzz.sh run $(BUILD)/fuzz '$(FUZZ_TARGET)' '$(FUZZ_SECONDS)' '$(FUZZ_RUNS)'

fuzz-smoke: # A short run of all targets at once, beside other tests; the last line sums them up.
	@if spec/support/fuzz.sh can $(FUZZ_CC); then \
		nice -n 19 $(MAKE) -s $(parallel) VARIANT=fuzz CC=$(FUZZ_CC) fuzz-programs && \
		spec/support/fuzz.sh smoke $(BUILD)/fuzz '$(FUZZ_TARGET)' '$(FUZZ_SMOKE_SECONDS)'; \
	else \
		echo 'the fuzz targets are skipped: $(FUZZ_CC) with its libFuzzer is not there (spec/support/deps.sh fuzz)'; \
		echo '0 passed, 0 failed, $(words $(fuzz_targets)) skipped'; \
	fi

fuzz-merge: # Adds to spec/fuzz/corpus what was found and reaches code that nothing in there reaches.
	$(fuzz_make) fuzz-programs
	@spec/support/fuzz.sh merge $(BUILD)/fuzz '$(FUZZ_TARGET)'

fuzz-record: # Records anew the conversations with a server that the target `server` begins with.
	@spec/support/deps.sh demo fuzz
	$(fuzz_make) fuzz-programs
	@spec/support/pg.sh run env TIDEPOOL_FUZZ_RECORD=spec/fuzz/corpus/server $(BUILD)/fuzz/fuzz-bin/fuzz_server

fuzz-programs: $(fuzz_targets)

$(OUT)/obj/spec/fuzz/%.o: TP_CPPFLAGS += -Ilua/binding

$(OUT)/fuzz-bin/%: $(OUT)/obj/spec/fuzz/%.o $(fuzz_helpers) $(binding_objects) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(TP_CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $(fuzz_wraps) -o $@ $^ $(LIBS) $(LUA_LIBS) -lm

-include $(patsubst $(OUT)/fuzz-bin/%,$(OUT)/obj/spec/fuzz/%.d,$(fuzz_targets)) $(fuzz_helpers:.o=.d)
