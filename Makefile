# What developers and CI run. Plain `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run up down test lint bench chart services compiler

# Arguments of the measured runs, for example: make bench BENCH_ARGS='--runs 1 --tasks 5000'
BENCH_ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: compiler ## start the embedded default, all in one process, on port 8200
	cargo run --release --locked -p agent-orchestrator

up: compiler ## start API, two workers and a Brain Factory as processes of their own, on the servers of the tests
	@docs/examples/full-strength/up

down: ## stop what `make up` started; its ledger and queues are kept
	@docs/examples/full-strength/down

test: compiler ## run every test, on PostgreSQL, RabbitMQ and Redis, which are installed and started when missing
	@services=$$(tests/services/up); eval "$$services"; set -x; \
	if cargo nextest --version >/dev/null 2>&1; then \
	  cargo test --workspace --locked --doc; \
	  cargo nextest run --workspace --locked; \
	else \
	  cargo test --workspace --locked; \
	fi

lint: compiler ## check formatting, clippy and rustdoc; every warning is an error
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

bench: compiler ## measure the embedded default and the full strength: throughput, latency, processor time, memory
	cargo build --release --locked -p agent-orchestrator -p orchestrator-api -p orchestrator-worker \
	  -p orchestrator-migration -p orchestrator-benches
	cargo run --quiet --release --locked -p orchestrator-benches --bin embedded -- $(BENCH_ARGS)
	@services=$$(tests/services/up); eval "$$services"; set -x; \
	cargo run --quiet --release --locked -p orchestrator-benches --bin full -- $(BENCH_ARGS)

chart: ## lint, render and check the Helm chart
	charts/tests/run

services: ## start what the tests need, and print the variables that lead to it
	@tests/services/up

# Some crates compile C.
compiler:
	@command -v cargo >/dev/null || { echo 'needs Rust: https://rustup.rs' >&2; exit 1; }
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install -y build-essential; } \
	  || { echo 'needs a C compiler: sudo apt-get install build-essential' >&2; exit 1; }
