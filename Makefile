# Each target sets up .venv from pyproject.toml first, and only if something changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests that run on every core, a file on each, one thread a file. The others run one after the other.
APART := tests/satm/cli tests/satm/exchange tests/satm/workflow tests/satm/report tests/satm/studies tests/registry \
	tests/test_architecture.py tests/test_docs.py tests/test_crashes.py tests/test_how_to.py tests/test_packaging.py tests/test_site.py \
	tests/evaluation tests/protocols tests/golden tests/satm/data tests/satm/experts tests/satm/methods tests/satm/statistics tests/satm/teachers

.PHONY: demo test lint types docs site clean

demo: $(VENV)/.installed ## condense the embedded digits with SATM and measure the result
	PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: $(VENV)/.installed ## every test, slow ones included, except those that need a GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" -n logical --dist loadfile $(APART)
	$(BIN)/python -m pytest -m "not gpu" $(APART:%=--ignore=%)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed ## write docs/commands.md, the command reference, from the commands
	$(BIN)/python -m satm.cli.reference docs/commands.md

site: $(VENV)/.installed ## build the documentation site in build/site; a broken link is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs/site . build/site
	@echo "open build/site/README.html"

$(VENV)/.installed: pyproject.toml
	@echo "setting up $(VENV): about three minutes and 7 GB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache demo build
