# Short names for what CONTRIBUTING.md tells; they use the tools of the active environment.

.PHONY: help check test format mutate oldest site ci

help:  ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

check:  ## Lint, types, import layers and the fast tests.
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m pytest -q -m "not slow"

test:  ## All tests.
	python -m pytest

format:  ## Bring code into the one form.
	ruff check --fix .
	ruff format .

mutate:  ## Plant faults in a copy of the tree; every one must make a test fail.
	python benchmarks/mutations.py

oldest:  ## All tests on the oldest versions that pyproject.toml allows, in a fresh environment.
	.ci/oldest

site:  ## The documentation site in build/site; any warning is an error. Needs pip install '.[docs]'.
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

ci:  ## Everything that a change has to pass, from a fresh environment.
	.ci/run
