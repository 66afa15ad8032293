# Verbs of the project; .ci/run uses the same. Needs Python >= 3.11 and make, nothing else.
VENV ?= .venv
DATA ?=
ARGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench clean

help:
	@echo "make demo [DATA=path]  run a lazy query on an OME-Zarr image, write a picture of it"
	@echo "make test [ARGS=...]   run the tests"
	@echo "make lint, make types  ruff; mypy --strict"
	@echo "make bench             time the library beside its peers"
	@echo "make clean             remove caches and build products (not the environment)"
	@echo "The environment is made in VENV=$(VENV); PYTHON=... names the interpreter to make it with."

demo: $(VENV)/.installed
	$(PY) -m lazytensor demo $(if $(DATA),"$(DATA)")

test: $(VENV)/.installed-test
	$(PY) -m pytest $(ARGS)

lint: $(VENV)/.installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.installed-test
	$(PY) -m mypy

bench: $(VENV)/.installed-bench
	$(PY) -m benchmarks $(ARGS)

clean:
	rm -rf build dist demo_out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find lazytensor tests tools -name __pycache__ -prune -exec rm -rf {} +

# Stamps: a second run installs nothing. The installation is editable, so only a change of the
# dependencies needs a new one.
$(VENV)/.installed: pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/environment.sh "$(VENV)"
	$(PIP) --editable .
	@touch "$@"

$(VENV)/.installed-test: pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/environment.sh "$(VENV)"
	$(PIP) --editable ".[test]"
	@touch "$@" "$(VENV)/.installed"

$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(PIP) --editable ".[test,bench]"
	@touch "$@"
