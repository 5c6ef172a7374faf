# weft: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/weft-net/weft/proto/note.Version=$(VERSION)
BINARIES := bin/weft-server bin/weft-agent bin/weft-cni bin/weft
# The previous release, which upgrades begin with; and, built of this tree, a next
# one whose state has a newer schema.
PREVIOUS := 4e3a5803887c27af271e9725a21de174bb4074da
NEXT := $(addprefix bin/next/,$(notdir $(BINARIES))) bin/far/weft-agent
TOOLS := bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/staticcheck bin/grpcurl bin/gofumpt
# What make test leaves to make test-tailscale.
TAILNET := integration/tailnet
MODULES := . $(patsubst %/go.mod,%,$(wildcard integration/*/go.mod integration/*/*/go.mod))
# What the wire contract must not break: where this work left main, else the commit before.
BREAKING ?= $(shell b=$$(git merge-base HEAD origin/main 2>/dev/null); h=$$(git rev-parse HEAD 2>/dev/null); \
	[ -n "$$b" ] && [ "$$b" != "$$h" ] && echo $$b || git rev-parse HEAD~1 2>/dev/null)
ONCE ?=
DEMO ?= base

export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(BINARIES) ## the four binaries, into bin/

# Whether a binary is up to date is go's to say, by contents: a copied or checked
# out file may be newer than what it was built of.
.PHONY: FORCE
FORCE:

bin/%: FORCE
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

$(TOOLS): integration/tools/go.mod integration/tools/go.sum
	@mkdir -p bin
	@cd integration/tools && go build -o ../../bin/ $$(go list -f '{{.ImportPath}}' tool | grep '/$(@F)$$')

# Konnectivity's own client, as a kube-apiserver has it.
bin/konnectivity: integration/oracle/konnectivity/go.mod integration/oracle/konnectivity/go.sum integration/oracle/konnectivity/main.go
	@mkdir -p bin
	@cd integration/oracle/konnectivity && CGO_ENABLED=0 go build -trimpath -o ../../../bin/konnectivity .

# Flannel's CNI plugin with what it delegates to.
bin/cni/flannel: integration/oracle/flannelcni/go.mod integration/oracle/flannelcni/go.sum
	@mkdir -p bin/cni
	@cd integration/oracle/flannelcni && CGO_ENABLED=0 go build -trimpath -o ../../../bin/cni/ $$(go list -f '{{.ImportPath}}' tool)

bin/old/$(PREVIOUS): integration/old.sh
	@rm -rf bin/old && integration/old.sh $(PREVIOUS) bin/old && touch $@

bin/next/%: FORCE
	@mkdir -p bin/next
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(subst -X,-X github.com/weft-net/weft/proto/schema.raise=1 -X,$(LDFLAGS))-next' -o $@ ./cmd/$*

# An agent from a far future.
bin/far/%: FORCE
	@mkdir -p bin/far
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(subst -X,-X github.com/weft-net/weft/proto/skew.shift=5 -X,$(LDFLAGS))-far' -o $@ ./cmd/$*

.PHONY: releases
releases: bin/old/$(PREVIOUS) $(NEXT) ## the previous release, from the history, and a next one, for tests of upgrades

# An etcd of today: the distribution's is three releases old.
bin/etcd: integration/tools/go.mod integration/tools/go.sum
	@mkdir -p bin
	@cd integration/tools && CGO_ENABLED=0 go build -o ../../bin/etcd go.etcd.io/etcd/server/v3

.PHONY: deps
deps: ## what demo, test and bench need of the machine: installed as root, else named
	@integration/deps.sh

.PHONY: demo
demo: deps build bin/grpcurl $(if $(filter ha,$(DEMO)),bin/old/$(PREVIOUS)) $(if $(filter egress,$(DEMO)),bin/konnectivity) ## a fabric in namespaces; DEMO=ha: three servers; DEMO=egress: a node behind NAT; DEMO=multicloud: three sites; ONCE=1 ends by itself
	@go run ./integration/demo -scene $(DEMO) $(if $(ONCE),-once)

.PHONY: test
test: deps build releases bin/grpcurl bin/etcd bin/konnectivity bin/cni/flannel bin/standin/tailscale ## every test of every module, with the race detector; no skip passes
	@integration/test.sh $(filter-out $(TAILNET),$(MODULES))

# What stands in for Tailscale's program in scenarios.
bin/standin/%: FORCE
	@mkdir -p bin/standin
	@CGO_ENABLED=0 go build -trimpath -o $@ ./integration/standin/$*

# Tailscale's own programs, and Headscale for a control server.
bin/tailnet/tailscaled: integration/oracle/tailscale/go.mod integration/oracle/tailscale/go.sum
	@mkdir -p bin/tailnet
	@cd integration/oracle/tailscale && CGO_ENABLED=0 go build -trimpath -o ../../../bin/tailnet/ $$(go list -f '{{.ImportPath}}' tool)

bin/tailnet/headscale: integration/oracle/headscale/go.mod integration/oracle/headscale/go.sum
	@mkdir -p bin/tailnet
	@cd integration/oracle/headscale && CGO_ENABLED=0 go build -trimpath -o ../../../bin/tailnet/ $$(go list -f '{{.ImportPath}}' tool)

.PHONY: test-tailscale
test-tailscale: deps build bin/tailnet/tailscaled bin/tailnet/headscale ## a fabric in a real tailnet: tailscaled and Headscale, which are built first
	@integration/test.sh $(TAILNET)

.PHONY: vm
vm: deps build bin/etcd ## of make test: what needs a kernel with WireGuard, in a virtual machine; SCENARIOS="mesh-rotate": these alone
	WEFT_VM_SCENARIOS='$(SCENARIOS)' go test ./integration/vm -count=1 -timeout 60m -v $(if $(SCENARIOS),-run '^TestScenarios$$')

.PHONY: soak
soak: ## a million random operations on leases, with restores, against a model: some minutes
	WEFT_WALK=1000000 go test ./integration/walk -count=1 -timeout 60m -v

.PHONY: lint
lint: $(TOOLS) ## buf, vet, staticcheck, gofumpt, and that generated code is current
	bin/buf lint
	bin/buf breaking --against '.git#ref=$(BREAKING)'
	@for m in $(MODULES); do [ -n "$$(cd $$m && go list ./... 2>/dev/null)" ] || continue; \
	  echo "vet and staticcheck in $$m"; (cd $$m && go vet ./... && $(CURDIR)/bin/staticcheck -checks all,-ST1000 ./...) || exit 1; done
	@bad=$$(bin/gofumpt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); \
	  [ -z "$$bad" ] || { echo "gofumpt would change: $$bad; run make fmt"; exit 1; }
	@integration/generated.sh

.PHONY: fmt
fmt: bin/gofumpt ## format all Go code
	@bin/gofumpt -w $$(git ls-files '*.go' | grep -v '\.pb\.go$$')

.PHONY: generate
generate: bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc ## Go code from proto/
	bin/buf generate

.PHONY: bench
bench: deps build bin/etcd bin/old/$(PREVIOUS) ## the figures of the README, measured here
	@integration/bench.sh

.PHONY: clean
clean: ## what make made
	rm -rf bin dist
