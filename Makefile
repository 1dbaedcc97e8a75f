# `make quickstart` and `make test` do everything on a fresh machine, set-up included: each makes or
# reuses .venv in this checkout. A stamp inside .venv, older than pyproject.toml or constraints.txt,
# is what triggers an installation, so a second run starts at once.

# The first Python that is new enough; override with `make PYTHON=/path/to/python3.12 test`.
PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12 python3.13,$(shell \
	$(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))

.PHONY: help quickstart test coverage lint docs wheel proofs clean

help:
	@echo 'make quickstart   a small BERT from raw text, fine-tuned, with a report, in under ten minutes'
	@echo 'make test         the test suite'
	@echo 'make coverage     the same with coverage, which must not fall'
	@echo 'make lint         style and types'
	@echo 'make docs         the documentation, in site/'
	@echo 'make wheel        the package, in dist/, tried in an empty environment'
	@echo 'make proofs       the long proofs (kills, large corpora)'
	@echo 'make clean        remove .venv and caches'

quickstart: .venv/installed-quickstart
	.venv/bin/bertsmith quickstart $(ARGS)

test: .venv/installed-dev
	.venv/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

coverage: .venv/installed-dev
	.venv/bin/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

lint: .venv/installed-dev
	.venv/bin/ruff check src tests benchmarks scripts
	.venv/bin/ruff format --check src tests benchmarks scripts
	.venv/bin/mypy

docs: .venv/installed-docs
	.venv/bin/python scripts/build_docs.py

wheel: .venv/installed-dev
	.venv/bin/python scripts/check_wheel.py

proofs: .venv/installed-dev
	.venv/bin/python -m pytest -m slow --timeout=0 $(ARGS)

clean:
	rm -rf .venv .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site

.venv/installed-%: pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'error: no Python of at least 3.11 was found; install one or give PYTHON=path.' >&2; exit 2; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@
