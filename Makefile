# Targets with a comment after two hashes are listed by `make help`.

SHELL    := /bin/bash
CARGO    ?= cargo
BUILD    := $(CURDIR)/build
RELEASE  := $(CURDIR)/target/release
PACKAGES := nginx libnginx-mod-http-lua libnginx-mod-stream nginx-dev libpcre2-dev zlib1g-dev libssl-dev \
            iptables iproute2 etcd-client etcd-server curl procps g++ python3 python3-pip strace dpkg-dev lua-cjson \
            pkg-config lua5.1 luarocks valgrind

PREFIX       ?= /usr/local
BINDIR       ?= $(PREFIX)/bin
LIBDIR       ?= $(PREFIX)/lib
INCLUDEDIR   ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
LUADIR       ?= $(PREFIX)/share/lua/5.1
LUACDIR      ?= $(LIBDIR)/lua/5.1

VERSION     := $(shell awk -F '"' '/^version/ { print $$2; exit }' Cargo.toml)
SONAME      := libapisix_mesh.so.0
LUA         := $(shell cd lua && find * -name '*.lua')
LUA_FOLDERS := $(shell cd lua && find * -depth -type d)

.PHONY: help build lib header check test unit envoy compare-envoy compare-etcd interop demo bench bench-nginx bench-xds modules test-nginx test-lua test-install interop-etcd bench-etcd soak-etcd \
        sanitize apart install uninstall packages clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: lib modules ## Build the library, the command and the nginx modules

lib: ## Build the library and the command
	$(CARGO) build --release --locked --lib --bins
	ln -sf libapisix_mesh.so $(RELEASE)/$(SONAME)
	ln -sf libapisix_mesh.so $(RELEASE)/libxds.so

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

test: BLACKHOLE := 10
test: packages check unit modules test-nginx test-nginx-newest soak-nginx test-lua test-install sanitize demo interop interop-etcd ## Everything that must pass

# Without it the comparison is skipped.
envoy: packages
	@tests/envoy/get $(BUILD)/envoy >/dev/null || echo "skipped: the comparison with Envoy"

compare-envoy: packages ## What APISIX does with our objects beside what the real Envoy does; CASES=folder adds cases
	@tests/envoy/compare $(BUILD)/envoy

# ETCD=path compares with another etcd than the one in PATH, HISTORY=number begins there, PROFILE=release is faster.
compare-etcd: packages ## The etcd endpoint beside a real etcd; CALLS=1000000 SEED=1 asks more and repeats
	@set -o pipefail; CALLS=$(CALLS) SEED=$(SEED) HISTORY=$(HISTORY) ETCD=$(ETCD) \
	$(CARGO) test --locked $(PROFILE:%=--profile %) --test etcd_differential random_calls -- --nocapture 2>&1 | \
	awk '/^etcd: calls=/ { sum = $$0; next } { print; fflush() } END { print sum }'

# Says what it lacks and passes where Go or its modules cannot be had.
BLACKHOLE ?= 60
interop: packages lib ## The product beside the real Envoy under the real istiod and go-control-plane; BLACKHOLE=60 seconds without them
	APISIX_MESH=$(RELEASE)/apisix-mesh BLACKHOLE=$(BLACKHOLE) tests/interop/run $(BUILD)/interop

# Says what it lacks and passes where Go or its modules cannot be had.
interop-etcd: packages ## The official etcd clients against the etcd endpoint, cuts and restarts; CUTS=10000 RESTARTS=1000
	$(CARGO) build --locked --example etcd_store
	STORE=$(CURDIR)/target/debug/examples/etcd_store tests/interop/etcd/run $(BUILD)/interop

# The control plane is no part of what is shown: its debug build shares the tests' dependencies.
demo: modules ## The main job: xDS in, a routed request out, in network namespaces (root)
	$(CARGO) build --locked --example control_plane
	LIB_DIR=$(RELEASE) MODULES_DIR=$(BUILD)/nginx-modules BIN=$(RELEASE)/apisix-mesh \
	CONTROL_PLANE=$(CURDIR)/target/debug/examples/control_plane examples/demo/run.sh

bench: bench-nginx ## Print each benchmark beside its peer or floor
	$(CARGO) bench --locked
	$(CARGO) run --release --locked --manifest-path benches/queries/Cargo.toml --target-dir target/queries

bench-nginx: modules ## Queries in a worker beside ngx.shared; a change until 4 workers have it, beside APISIX's own way
	APISIX_MESH_LIB=$(RELEASE) MODULES=$(BUILD)/nginx-modules benches/nginx/queries
	APISIX_MESH_LIB=$(RELEASE) MODULES=$(BUILD)/nginx-modules unshare --net -- python3 -B benches/nginx/propagation.py

bench-xds: ## The command before a control plane that fails, floods and goes away; SCENE=storm plays one scene
	$(CARGO) bench --locked --bench xds -- $(SCENE)

bench-etcd: packages ## The etcd endpoint beside a real etcd; SCENE=range plays one scene, ETCD=/path/to/etcd takes another one
	$(CARGO) bench --locked --bench etcd -- $(SCENE)

soak-etcd: ## APISIX's provider, simulated: 10000 cuts and 2000 restarts for each version; CUTS=, RESTARTS=, SEED= for others
	CUTS=$(or $(CUTS),10000) RESTARTS=$(or $(RESTARTS),1000) SEED=$(or $(SEED),1) \
	$(CARGO) test --locked --test etcd_provider -- --nocapture

test-nginx: modules ## The nginx modules inside Debian's nginx
	APISIX_MESH_LIB=$(RELEASE) NGINX_FULL_SRC="$$(tests/nginx/full-source $(BUILD)/nginx-source || true)" tests/nginx/run

test-nginx-newest: modules ## The nginx modules with and inside the newest nginx that the registry has
	APISIX_MESH_LIB=$(RELEASE) tests/nginx/newest-run $(BUILD)/nginx-newest

soak-nginx: modules ## Kill the host, reload and upgrade nginx under load; KILLS=200 RELOADS=20 by default
	$(CARGO) build --locked --example control_plane
	CONTROL_PLANE=$(CURDIR)/target/debug/examples/control_plane MODULES=$(BUILD)/nginx-modules \
	APISIX_MESH_LIB=$(RELEASE) unshare --net -- python3 -B tests/nginx/soak.py

test-lua: modules ## The Lua binding inside Debian's nginx
	APISIX_MESH_LIB=$(RELEASE) MODULES_DIR=$(BUILD)/nginx-modules tests/lua/run

test-install: packages lib ## What `make install` puts into a folder: programs, pkg-config, Lua, the rock
	tests/install/run $(RELEASE)

sanitize: packages lib ## The C API and the Lua binding under AddressSanitizer and valgrind
	tests/sanitize/run $(RELEASE)

# Where APISIX itself lives, files of its own have the names of ours.
apart:
	@if [ -e "$(DESTDIR)$(LUADIR)/apisix/core.lua" ]; then \
	    echo "LUADIR=$(LUADIR): APISIX lives there, some of its files have the names of ours; give another folder" >&2; \
	    exit 1; \
	fi

# `make -o lib install` installs what is built, and asks cargo nothing.
install: apart lib ## Install below PREFIX (/usr/local), inside DESTDIR
	install -D -m 755 $(RELEASE)/apisix-mesh "$(DESTDIR)$(BINDIR)/apisix-mesh"
	install -D -m 644 $(RELEASE)/libapisix_mesh.so "$(DESTDIR)$(LIBDIR)/libapisix_mesh.so.$(VERSION)"
	ln -sf libapisix_mesh.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libapisix_mesh.so"
	install -D -m 644 include/apisix_mesh.h "$(DESTDIR)$(INCLUDEDIR)/apisix_mesh.h"
	install -D -m 644 packaging/apisix_mesh.pc.in "$(DESTDIR)$(PKGCONFIGDIR)/apisix_mesh.pc"
	sed -i -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' "$(DESTDIR)$(PKGCONFIGDIR)/apisix_mesh.pc"
	install -d "$(DESTDIR)$(LUACDIR)"
	library=$$(realpath -ms --relative-to="$(LUACDIR)" "$(LIBDIR)/$(SONAME)") && \
	ln -sf "$$library" "$(DESTDIR)$(LUACDIR)/libapisix_mesh.so" && ln -sf "$$library" "$(DESTDIR)$(LUACDIR)/libxds.so"
	for file in $(LUA); do install -D -m 644 "lua/$$file" "$(DESTDIR)$(LUADIR)/$$file" || exit; done

uninstall: apart ## Remove what install put there; give it the same variables
	rm -f "$(DESTDIR)$(BINDIR)/apisix-mesh" "$(DESTDIR)$(INCLUDEDIR)/apisix_mesh.h"
	rm -f "$(DESTDIR)$(LIBDIR)"/{libapisix_mesh.so,$(SONAME),libapisix_mesh.so.$(VERSION)}
	rm -f "$(DESTDIR)$(LUACDIR)"/{libapisix_mesh.so,libxds.so} "$(DESTDIR)$(PKGCONFIGDIR)/apisix_mesh.pc"
	for file in $(LUA); do rm -f "$(DESTDIR)$(LUADIR)/$$file"; done
	for folder in $(LUA_FOLDERS); do \
	    [ ! -d "$(DESTDIR)$(LUADIR)/$$folder" ] || rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(LUADIR)/$$folder"; \
	done

packages: ## Install the Debian packages that building and testing need (root)
	@missing=$$(dpkg-query -W -f '$${db:Status-Abbrev} $${Package}\n' $(PACKAGES) 2>&1 | grep -v '^ii ' || true); \
	if [ -n "$$missing" ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf $(BUILD)
