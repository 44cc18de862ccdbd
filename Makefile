# Two commands do everything on a bare machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint verify verify-quick verify-ffhq clean

demo: $(VENV)/.installed
	$(BIN)/rewrite demo --out demo

test: $(VENV)/.installed
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The saved edits: made again, applied, judged, undone; of `ffhq`, whose images take half a second each, all but judged.
# A model that cannot be fetched is named.
verify: $(VENV)/.installed
	$(BIN)/rewrite library verify scenes faces64 --skip-absent
	$(BIN)/rewrite library verify ffhq --quick --skip-absent

# All but judged.
verify-quick: $(VENV)/.installed
	$(BIN)/rewrite library verify scenes faces64 ffhq --quick --skip-absent

# The rest: those of `ffhq` judged too, on 250 seeds.
verify-ffhq: $(VENV)/.installed
	$(BIN)/rewrite library verify ffhq

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
