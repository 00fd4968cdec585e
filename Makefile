# Needs make and python3 (3.11 or newer); everything else is installed from the hash-locked requirements into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# From the verifier down every line and branch is covered, above it nine tenths.
CORE := attestd/verifier.py,attestd/policy/*,attestd/tdx/*,attestd/snp/*,attestd/nvgpu/*,attestd/binding/*,attestd/result.py,attestd/x509/*,attestd/claims.py,attestd/evidence.py,attestd/codec/*,attestd/signature.py,attestd/validity.py,attestd/errors.py

.PHONY: demo serve test lint bench fixtures lock venv clean

demo: venv
	$(BIN)/attestd demo $(ARGS)

serve: venv
	$(BIN)/attestd serve $(ARGS)

test: venv
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

fixtures: venv
	$(BIN)/python -m attestd.simulator fixtures

# Rewrites both lock files for every platform and Python that attestd supports; `make lock ARGS=--upgrade` renews the pins.
COMPILE := .venv-lock/bin/uv --no-config --quiet pip compile pyproject.toml --universal --python-version 3.11 \
	--only-binary :all: --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip --quiet install uv
	$(COMPILE) $(ARGS) --output-file requirements.lock
	$(COMPILE) $(ARGS) --output-file requirements-dev.lock --group dev --extra aws-lc --extra measure --constraint requirements.lock
	rm -rf .venv-lock

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

clean:
	rm -rf .venv .venv-lock build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find attestd tests -name __pycache__ -type d -prune -exec rm -rf {} +
