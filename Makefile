# Targets with a comment after two hashes are listed by `make help`.

SHELL    := /bin/bash
CARGO    ?= cargo
BUILD    := $(CURDIR)/build
PREFIX   ?= /usr/local
RELEASE  := $(CURDIR)/target/release
PACKAGES := nginx libnginx-mod-http-lua libnginx-mod-stream nginx-dev libpcre2-dev zlib1g-dev libssl-dev \
            iptables iproute2 etcd-client etcd-server curl procps g++ python3 python3-pip strace dpkg-dev lua-cjson

.PHONY: help build lib header check test unit envoy compare-envoy demo bench modules test-nginx test-lua packages clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: lib modules ## Build the library, the command and the nginx modules

lib: ## Build the library and the command
	$(CARGO) build --release --locked --lib --bins
	ln -sf libapisix_mesh.so $(RELEASE)/libapisix_mesh.so.0

modules: packages lib ## Build the nginx modules for Debian's nginx into build/nginx-modules
	APISIX_MESH_LIB=$(RELEASE) APISIX_MESH_INC=$(CURDIR)/include nginx-module/build.sh

header: ## Write include/apisix_mesh.h anew after a change of src/capi.rs
	UPDATE_HEADER=1 $(CARGO) test --locked --test header

check: ## Formatting, lints, layering, header, licences (cargo deny where installed)
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --test layering --test header
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check licenses bans sources; \
	else echo "skipped: cargo deny is not installed"; fi

unit: packages envoy ## The tests in Rust
	$(CARGO) test --locked --no-fail-fast

test: packages check unit modules test-nginx test-lua demo ## Everything that must pass

# Without it the comparison is skipped.
envoy: packages
	@tests/envoy/get $(BUILD)/envoy >/dev/null || echo "skipped: the comparison with Envoy"

compare-envoy: packages ## What APISIX does with our objects beside what the real Envoy does; CASES=folder adds cases
	@tests/envoy/compare $(BUILD)/envoy

# The control plane is no part of what is shown: its debug build shares the tests' dependencies.
demo: modules ## The main job: xDS in, a routed request out, in network namespaces (root)
	$(CARGO) build --locked --example control_plane
	LIB_DIR=$(RELEASE) MODULES_DIR=$(BUILD)/nginx-modules BIN=$(RELEASE)/apisix-mesh \
	CONTROL_PLANE=$(CURDIR)/target/debug/examples/control_plane examples/demo/run.sh

bench: ## Print each benchmark beside its peer or floor
	$(CARGO) bench --locked

test-nginx: modules ## The nginx modules inside Debian's nginx
	APISIX_MESH_LIB=$(RELEASE) NGINX_FULL_SRC="$$(tests/nginx/full-source $(BUILD)/nginx-source || true)" tests/nginx/run

test-lua: modules ## The Lua binding inside Debian's nginx
	APISIX_MESH_LIB=$(RELEASE) MODULES_DIR=$(BUILD)/nginx-modules tests/lua/run

packages: ## Install the Debian packages that building and testing need (root)
	@missing=$$(dpkg-query -W -f '$${db:Status-Abbrev} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^ii ' || true); \
	if [ -n "$$missing" ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf $(BUILD)
