# Hangar's commands; `make help` lists them.
#
# HANGAR_REQUIRE names parts that must not be missing: with
# HANGAR_REQUIRE=node,python,curl a test that needs one of these fails where it
# would skip. CI sets it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Two packages at a time: their tests start processes and watch the clock.
P ?= 2
PORT ?= 8000
DATA ?= data
FUZZTIME ?= 30s
BENCH ?= .
SOAK ?= 10m
UNIT_TIMEOUT ?= 10m
E2E_TIMEOUT ?= 15m

# The node that .ci/run may have had to bring.
export PATH := $(CURDIR)/.cache/node/bin:$(PATH)

GOTEST = go run .ci/gotest.go -p $(P) -shuffle=on -count=1
# Everything but the end-to-end tests, which run alone, last and longer.
UNIT = $$(go list ./... | grep -v '/e2e$$')
CHECK_STEPS = lint test race fuzz bench-smoke soak-smoke

build: ## build bin/hangar, one static binary
	CGO_ENABLED=0 go build -p $(P) -trimpath -o bin/hangar ./cmd/hangar

run: build ## build, then host the example fleet on PORT (8000)
	HANGAR_BIN=$(abspath bin/hangar) bin/hangar --config examples/fleet.yaml serve --http --port $(PORT) --data-dir $(DATA)

test: ## all tests; prints what was skipped and why
	$(GOTEST) -timeout $(UNIT_TIMEOUT) $(UNIT)
	$(GOTEST) -timeout $(E2E_TIMEOUT) ./e2e

race: ## all tests under the race detector; in e2e the program is
	$(GOTEST) -race -timeout $(UNIT_TIMEOUT) $(UNIT)
	HANGAR_BUILD_FLAGS=-race $(GOTEST) -timeout $(E2E_TIMEOUT) ./e2e

fuzz: ## every fuzz target for FUZZTIME (30s)
	.ci/fuzz $(FUZZTIME)

lint: ## gofmt, vet, staticcheck, the laws of arch_test.go
	@unformatted=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./... && go vet .ci/gotest.go
	go tool staticcheck ./...
	go test -count=1 .

bench: build ## the benchmarks; BENCH selects those beside the code
	go test -p 1 -run '^$$' -bench '$(BENCH)' -benchmem $(UNIT)
	go run ./bench -hangar bin/hangar

bench-smoke: build ## every benchmark for a moment, to see that it runs
	go test -p 1 -run '^$$' -bench . -benchtime 1x $(UNIT)
	go run ./bench -smoke -hangar bin/hangar
	go run ./bench -recovery -servers 20 -rounds 20 -burst 100 -hangar bin/hangar

recovery: build ## kill servers, idle, under load and all at once; print how they come back
	go run ./bench -recovery -hangar bin/hangar

times: build ## every time that a numbered promise states, beside what is allowed; about 4 minutes
	go run ./bench -times -check -hangar bin/hangar

soak: build ## disturb 300 servers for SOAK (10m) under load; fails when anything is left behind
	go run ./bench -soak $(SOAK) -hangar bin/hangar

soak-smoke: build ## the same for a minute
	go run ./bench -soak 60s -hangar bin/hangar

orphans: build ## kill -9 of the runtime, 20 rounds; fails when a process is left
	go run ./bench -orphans 20 -hangar bin/hangar

reloads: build ## 20,000 reloads of 50 servers, kills of 1,000; print what grows and how long a restart takes
	go run ./bench -reloads 20000 -hangar bin/hangar
	go run ./bench -restarts 20 -hangar bin/hangar

parts: ## fetch the real clients and servers for the end-to-end tests
	.ci/parts

e2e: parts ## only the end-to-end tests, each with its name
	go test -count=1 -timeout $(E2E_TIMEOUT) -v ./e2e

nightly: build ## what takes hours: long fuzzing, goroutines that nothing can wake, 500 kills, soak, orphans, times
	.ci/fuzz 5m
	GOEXPERIMENT=goroutineleakprofile $(GOTEST) -timeout $(UNIT_TIMEOUT) $(UNIT)
	HANGAR_KILL_ROUNDS=500 HANGAR_KILL_SERVERS=1000 go test -count=1 -timeout 2h -run TestKillLosesNothingAcknowledged ./e2e
	$(MAKE) soak orphans times

check: $(CHECK_STEPS) ## what CI runs (bash .ci/run installs what is missing, too)

check-steps:
	@echo $(CHECK_STEPS)

clean: ## remove what the commands here made, the example fleet's data too
	rm -rf bin .cache e2e/node/node_modules data

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build run test race fuzz lint bench bench-smoke recovery times soak soak-smoke orphans reloads parts e2e nightly check check-steps clean help
