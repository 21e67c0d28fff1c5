# `make try` and `make test` are all that a newcomer needs. `make help` lists the rest.
SHELL := /bin/bash
CARGO ?= cargo
BUILD_PACKAGES := build-essential cmake pkg-config libasound2-dev
RUN := target/release/bellwire

.PHONY: help try test lint fmt bench packages build clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

try: build ## build, then call the echo extension of the built-in PBX and judge the sound
	$(RUN) try

test: packages ## everything: unit, simulated world, real sockets, the binary, interop
	@tests/run

lint: packages ## formatting, clippy, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

fmt: ## format the tree
	$(CARGO) fmt

bench: packages ## measure, beside baresip and pjsua where they are; keeps tests/bench/RESULTS.md (ROWS="start many" runs some)
	$(CARGO) bench --locked --bench bench -- $(ROWS)

build: packages ## the release binary
	$(CARGO) build --locked --release

packages: ## the Debian packages that the build needs (asks for sudo only when something is missing)
	@missing=; for p in $(BUILD_PACKAGES); do \
	  dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  command -v apt-get >/dev/null || { echo "please install:$$missing"; exit 1; }; \
	  echo "installing:$$missing"; \
	  sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

clean: ## remove what was built
	$(CARGO) clean
