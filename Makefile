# The habits of this repository, each a line or two of ordinary commands. `make` lists them.

PYTHON ?= python3
FUZZ_SECONDS ?= 60
CHAOS_SECONDS ?= 45

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint doc snapshots peers bench fuzz deny

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the gateway, a router and a sample service in one process
	cargo run --release -- demo

test: peers ## run every test, also those against real peers
	WAMPGATE_PEERS="$$($(PYTHON) tests/peers/install.py)" \
		WAMPGATE_CHAOS_SECONDS=$(CHAOS_SECONDS) cargo test

check: format lint doc ## all that CI runs: format, clippy, docs, tests, no stray snapshots
	@rm -f target/snapshots.txt
	INSTA_UPDATE=no INSTA_SNAPSHOT_REFERENCES_FILE="$(CURDIR)/target/snapshots.txt" $(MAKE) test
	$(MAKE) snapshots

format:
	cargo fmt --check

lint:
	cargo clippy --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

# Compares the snapshots in the tree with those that the last `make check` asked for.
snapshots:
	@find src tests -name '*.snap.new' -o -name '.*.pending-snap' | sed 's/^/not reviewed: /' | (! grep .)
	@sort -u target/snapshots.txt 2>/dev/null | sed "s|^$(CURDIR)/||" > target/snapshots.used || true
	@find src tests -name '*.snap' | sort | comm -23 - target/snapshots.used | sed 's/^/no test asks for: /' | (! grep .)

peers: ## install the real WAMP peers that tests talk to, outside the tree
	@$(PYTHON) tests/peers/install.py > /dev/null

bench: peers ## measure, beside other programs in the same run; prints ratios
	WAMPGATE_PEERS="$$($(PYTHON) tests/peers/install.py)" cargo bench --bench routes --bench calls

# What `cargo fuzz` does, on the pinned toolchain and without that tool: coverage for libFuzzer. With
# a target named, build scripts and procedural macros are built without it.
FUZZ_FLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
	-Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing

fuzz: ## run each fuzz target for FUZZ_SECONDS
	@cd fuzz && for target in $$(ls fuzz_targets | sed 's/\.rs$$//'); do \
		echo "== $$target"; mkdir -p corpus/$$target artifacts; \
		RUSTFLAGS="$(FUZZ_FLAGS)" cargo run --release --target $$(rustc -vV | sed -n 's/^host: //p') \
			--bin $$target -- -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=artifacts/ \
			corpus/$$target || exit 1; \
	done

deny: ## check licences, advisories and duplicates (needs `cargo install cargo-deny`)
	cargo deny check
