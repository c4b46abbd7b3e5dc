# The habits of this repository, each a line or two of ordinary commands. `make` lists them.

PYTHON ?= python3
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint doc snapshots peers bench fuzz deny

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the gateway, a router and a sample service in one process
	cargo run --release -- demo

test: peers ## run every test, also those against real peers
	WAMPGATE_PEERS="$$($(PYTHON) tests/peers/install.py)" cargo test

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
	cargo build --release
	WAMPGATE_PEERS="$$($(PYTHON) tests/peers/install.py)" cargo bench

fuzz: ## run each fuzz target for FUZZ_SECONDS (needs `cargo install cargo-fuzz`)
	@for target in $$(ls fuzz/fuzz_targets | sed 's/\.rs$$//'); do \
		echo "== $$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

deny: ## check licences, advisories and duplicates (needs `cargo install cargo-deny`)
	cargo deny check
