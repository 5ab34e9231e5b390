# `make run` and `make test` are each enough by themselves on a fresh machine; see README.md.

CARGO_BUILD := .ci/progress cargo build --release --locked
BUNDLED     := filter attributes redaction tail-sampling probabilistic-sampler rate-limiting lookup
GUESTS      := $(BUNDLED) misbehaving misbehaving-enricher misbehaving-policy misbehaving-redactor drop-health-checks
PYTHON      := target/venv/ready
POLYGLOT    := javascript-filter javascript-policy python-filter python-policy
FUZZ_SECONDS ?= 20

.PHONY: run build test polyglot check soak fuzz bench guests bundled lint doc clean

## Build everything, start the engine with made-up traffic, and show what happens.
run: build
	@exec target/release/sluicebox demo --config examples/quickstart/sluicebox.yaml $(ARGS)

## Leaves target/release/sluicebox.
build: bundled
	$(CARGO_BUILD) -p sluicebox --bin sluicebox

## All tests: guests natively, the engine through its sockets, real SDKs in Python.
test: build guests $(PYTHON)
	.ci/progress cargo test --release --locked --workspace

## Filters and policies in JavaScript and Python (examples/): builds them with tools from npm and PyPI, which takes a minute, and tests them.
polyglot: $(POLYGLOT:%=target/guests/%.wasm)
	.ci/progress cargo test --release --locked -p sluicebox-tests --test polyglot

## What continuous integration runs.
check: lint doc test polyglot fuzz

lint: bundled
	cargo fmt --check
	.ci/progress cargo clippy --release --locked --workspace --all-targets -- -D warnings

doc: bundled
	RUSTDOCFLAGS="-D warnings" .ci/progress cargo doc --release --locked --workspace --no-deps

## The long runs: twenty million items of each signal, thousands of swaps, a million spans for each tail sampler, one after the other.
soak: build guests
	SLUICEBOX_SOAK=20 .ci/progress cargo test --release --locked -p sluicebox-tests --test exact_million --test edited_million --test swap --test tail_simulation --test topology
	SLUICEBOX_SOAK=20 .ci/progress cargo test --release --locked -p sluicebox-tests --test swap_soak --test swap_rules --test hostile_beside -- --test-threads=1 --nocapture
	SLUICEBOX_SOAK=20 .ci/progress cargo test --release --locked -p sluicebox-tests --test wasm_runtime -- bombs --nocapture
	SLUICEBOX_SOAK=20 SLUICEBOX_TAIL_SPANS=1000000 .ci/progress cargo test --release --locked -p sluicebox-tests --test tail_sampling -- --test-threads=1

## Fuzzing: FUZZ_SECONDS for each target.
fuzz:
	.ci/progress tests/fuzz/run.sh $(FUZZ_SECONDS)

## The benchmark: CPU per span beside a bare byte-forwarding proxy.
bench: build
	$(CARGO_BUILD) -p sluicebox-tests --bins
	target/release/bench

# Components inside the binary: built, turned into components, compiled for a baseline CPU.
BUNDLED_MODULES := $(BUNDLED:%=target/guests/core/%.wasm)
BUNDLED_CODE    := $(BUNDLED:%=host/bundled/%.cwasm)
bundled: $(BUNDLED_CODE)
EMBEDDED_CASES := $(wildcard guests/*/tests/embedded.json)
$(BUNDLED_CODE) &: $(BUNDLED_MODULES) $(EMBEDDED_CASES)
	$(CARGO_BUILD) -p sluicebox --bin bundle
	target/release/bundle $(BUNDLED_MODULES) --precompile --out host/bundled

# Components that the tests load.
guests: $(GUESTS:%=target/guests/%.wasm)
target/guests/%.wasm: target/guests/core/%.wasm $(EMBEDDED_CASES)
	$(CARGO_BUILD) -p sluicebox --bin bundle
	target/release/bundle $< --out target/guests

GUEST_SOURCES := $(shell find guests sdk-guest wit -name '*.rs' -o -name '*.wit' -o -name Cargo.toml) Cargo.lock
CORE_MODULES := $(GUESTS:%=target/guests/core/%.wasm)
.SECONDARY: $(CORE_MODULES)
$(CORE_MODULES) &: $(GUEST_SOURCES) guests/toolchain.sh
	.ci/progress guests/toolchain.sh $(GUESTS)

$(PYTHON): tests/python/requirements.txt tests/python/venv.sh
	.ci/progress tests/python/venv.sh

CONTRACT := $(wildcard wit/*.wit)
JS       := target/javascript
$(JS)/ready: examples/javascript-filter/package.json
	mkdir -p $(JS)
	cp examples/javascript-filter/package.json $(JS)
	.ci/progress npm install --prefix $(JS) --no-audit --no-fund --loglevel=error
	@touch $@
target/guests/javascript-filter.wasm: $(wildcard examples/javascript-filter/*.*js) $(JS)/ready $(CONTRACT)
	mkdir -p target/guests
	cp examples/javascript-filter/*.*js $(JS)
	cd $(JS) && node build.mjs filter.js ../../wit ../guests/javascript-filter.wasm
target/guests/javascript-policy.wasm: $(wildcard examples/javascript-policy/*.*js) $(JS)/ready $(CONTRACT)
	mkdir -p target/guests
	cp examples/javascript-policy/policy.js $(JS)
	cp examples/javascript-policy/build.mjs $(JS)/build-policy.mjs
	cd $(JS) && node build-policy.mjs policy.js ../../wit ../guests/javascript-policy.wasm

target/guests/python-%.wasm: examples/python-%/app.py $(CONTRACT) $(PYTHON)
	mkdir -p target/guests
	target/venv/bin/componentize-py -d wit -w $(WORLD) componentize --stub-wasi -p $(<D) app -o $@
target/guests/python-filter.wasm: WORLD := filter
target/guests/python-policy.wasm: WORLD := sampler

clean:
	cargo clean
	rm -rf host/bundled
