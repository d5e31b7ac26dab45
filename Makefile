# `make` or `make help` lists the targets. Nothing here is needed to try forgeauth or to test it: see the README.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
BIN ?= bin/forgeauth
# The version that .ci/run pins.
GOLANGCI_VERSION := $(shell sed -n 's/^readonly golangci_version=//p' .ci/run)
# How long each fault test goes on in `make soak`.
SOAK ?= 10m

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: ## Run the tests (they start their own Postgres)
	go test ./...

.PHONY: race
race: ## Run the tests under the race detector
	go test -race ./...

.PHONY: lint
lint: ## Lint; FIX=1 repairs what can be repaired mechanically
	@have=$$(golangci-lint version 2>/dev/null | sed -nE 's/.*has version v?([0-9.]+).*/v\1/p'); \
	if [ "$$have" != "$(GOLANGCI_VERSION)" ]; then \
		echo "golangci-lint $(GOLANGCI_VERSION) is needed (found: $${have:-none}):"; \
		echo "  go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)"; \
		exit 1; \
	fi
	golangci-lint run $(if $(FIX),--fix) ./...

.PHONY: bench
bench: ## Measure against the limits and write the table into docs/benchmarks.md
	@mkdir -p dist
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./internal/benchmark | tee dist/bench.out
	@.ci/bench-table dist/bench.out docs/benchmarks.md

.PHONY: soak
soak: ## Run the fault tests at full length, SOAK=10m each
	FORGEAUTH_SOAK=$(SOAK) go test -count=1 -timeout 0 -v $$(grep -rl --include='*_test.go' FORGEAUTH_SOAK . | xargs -r -n1 dirname | sort -u)

.PHONY: demo
demo: ## Run the demo: the whole story, no account and no set-up needed
	go run ./cmd/forgeauth demo

.PHONY: build
build: ## Build the static binary into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X github.com/forgeauth/forgeauth.version=$(VERSION)' -o $(BIN) ./cmd/forgeauth

.PHONY: tidy
tidy: ## Format everything, and bring go.mod and go.sum in line with the imports
	golangci-lint fmt ./...
	go mod tidy

.PHONY: golden
golden: ## Rewrite the golden files from what the code does now; read the diff before committing it
	go test $$(grep -rlE --include='*_test.go' 'flag\.Bool\("update"' . | xargs -r -n1 dirname | sort -u) -update

.PHONY: secrets
secrets: ## Create the secrets that docker-compose.yml reads; existing files are kept
	@./deploy/make-secrets

.PHONY: ci
ci: ## Run everything that has to hold before a change is taken
	.ci/run
