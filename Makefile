# What a contributor types. Everything runs in .venv, which `demo` and `test` make by themselves.

PYTHON ?= python3
PIP = .venv/bin/python -m pip --quiet --disable-pip-version-check
GOAL = $(or $(firstword $(MAKECMDGOALS)),demo)
# Where it is set, every worker of pytest and every server of the tests compiles all files anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check newest soak bench lint types messages docs pictures build release clean help
# A virtual environment that was interrupted half-way is made anew.
.DELETE_ON_ERROR:

demo: .venv/demo.stamp ## Import 28,298 airports and watch (PORT=8000, ONCE=1, REDIS_URL=...)
	@exec .venv/bin/python example_project/demo.py

# Style sheets in which bars are tested. Their tests need npm, like the types of the scripts.
FRAMEWORKS = .venv/css-frameworks/node_modules/bootstrap/package.json

test: .venv/tests-compiled.stamp $(FRAMEWORKS) ## Run the tests; ARGS go to pytest, as in make test ARGS="-k stream -x"
	.venv/bin/python -m pytest -n 8 --dist worksteal \
	    $(if $(CI),--cov --cov-report=term --cov-fail-under=100) $(ARGS)

# Without browsers, negative controls, task queues, and all that takes servers apart.
CHECK_TESTS = tests/core tests/redis tests/watch tests/service tests/tracker tests/access tests/web \
    tests/widget tests/management tests/testing $(wildcard tests/test_*.py)

check: .venv/tests-compiled.stamp ## Run the unit tests, in about a minute
	.venv/bin/python -m pytest -n 4 --dist worksteal -m "not browser and not soak and not xfail" \
	    $(CHECK_TESTS) $(ARGS)

# What a newer Python or Django may break: its handlers, templates, checks, tasks and transactions, its
# asyncio, threads and forks. The rest hangs on Redis, servers and browsers, which are the same ones.
# Controls show what tests are worth, and that they have shown already.
NEWEST_PYTHON ?= python3.13
NEWEST_DJANGO ?= 6.1
NEWEST_TESTS = tests/core tests/access/test_checks.py tests/access/test_doors.py \
    tests/access/test_tenants.py tests/access/test_users.py tests/widget/test_nonces.py \
    tests/faults/test_middleware.py tests/faults/test_wsgi.py tests/test_conf.py tests/test_layout.py \
    $(addprefix tests/, $(addsuffix .py, contrib/test_django_tasks contrib/test_import_export \
    service/test_contract service/test_registry tracker/test_signals tracker/test_tracker \
    tracker/test_transactions web/test_streams web/test_views web/test_websocket widget/test_context \
    widget/test_job_list))

newest: .venv-newest/stamp ## Run the tests that a new release may break, on NEWEST_PYTHON and NEWEST_DJANGO
	.venv-newest/bin/python -m pytest -n 8 --dist worksteal \
	    -m "not browser and not soak and not xfail" $(NEWEST_TESTS) $(ARGS)

soak: .venv/test.stamp ## Run what takes long: random faults for SOAK_SECONDS=600, FUZZ_EXAMPLES=20000, and more
	.venv/bin/python -m pytest -m soak --timeout 0 --capture no $(ARGS)
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),20000) .venv/bin/python -m pytest \
	    tests/fuzz tests/stateful/test_sequences.py --timeout 0 -n 2

bench: .venv/bench.stamp ## Measure against what people use today, as in make bench ARGS="rows update"
	.venv/bin/python -m benchmarks $(ARGS)

lint: .venv/lint.stamp ## Check style and format
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check

# TypeScript reads the types in the comments of the scripts; no user of the package needs it.
TSC = .venv/typescript-5.9.3/node_modules/.bin/tsc

types: .venv/lint.stamp $(TSC) ## Check types; those of the scripts only where npm can install TypeScript
	.venv/bin/python -m mypy
	@if [ -x $(TSC) ]; then set -x; $(TSC) --project .ci/tsconfig.json; \
	    else echo "No TypeScript here: the scripts' types are not checked"; fi

messages: .venv/demo.stamp ## Bring the translations up to the sources, compile them, say what is missing
	.venv/bin/python .ci/messages.py

docs: .venv/docs.stamp ## Build the documentation's site into build/docs; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build

pictures: .venv/test.stamp $(FRAMEWORKS) ## Draw docs/images, and bars in frameworks into build/pictures
	.venv/bin/python .ci/pictures.py docs/images
	PICTURES=build/pictures .venv/bin/python -m pytest -n 2 tests/looks -k readable

build: .venv/test.stamp ## Build the wheel and the source distribution into dist/
	.venv/bin/python -m build

release: .venv/release.stamp ## Build, check, install and tag the version that is in the tree (ARGS=--dry-run)
	.venv/bin/python .ci/release.py $(ARGS)

clean: ## Remove .venv, the demo's files, and whatever was built or cached
	rm -rf .venv .venv-newest build dist htmlcov example_project/var .coverage .coverage.* *.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	while IFS='|' read -r name text; do printf '%-16s%s\n' "$$name" "$$text"; done

ifeq ($(origin PYTHON), command line)
ifneq ($(wildcard .venv/bin/python),)
$(info .venv is there already, and PYTHON is for making it: to make it anew, run `make clean` first)
endif
endif

# The stamps stand for "installed": newer than pyproject.toml, or it is done again.
.venv/%.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing django-import-progress[$*] into .venv (this takes a moment)"
	@$(PIP) install --editable '.[$*]'
	@touch $@

# In a fresh clone eight workers would begin by compiling the same files and by computing the same
# tables of Unicode, which hypothesis keeps: one test that needs them does it for all.
.venv/tests-compiled.stamp: .venv/test.stamp
	@.venv/bin/python -m pytest -k test_json_is_plain_ascii_and_says_the_same > /dev/null || true
	@touch $@

$(TSC): | .venv/bin/python
	@npm install --silent --no-save --ignore-scripts --prefix .venv/typescript-5.9.3 typescript@5.9.3 || true

# Aliases, because both versions of Pico have one name.
$(FRAMEWORKS): | .venv/bin/python
	@npm install --silent --no-save --ignore-scripts --prefix .venv/css-frameworks \
	    pico1@npm:@picocss/pico@1.5.13 pico2@npm:@picocss/pico@2.1.1 bulma@1.0.4 bootstrap@5.3.8 || true

.venv-newest/stamp: pyproject.toml
	'$(NEWEST_PYTHON)' -m venv --clear .venv-newest
	@.venv-newest/bin/python -m pip --quiet --disable-pip-version-check install \
	    --editable '.[test]' 'django~=$(NEWEST_DJANGO).0'
	@touch $@

.venv/bin/python:
	@command -v '$(PYTHON)' >/dev/null || { \
	    echo "There is no $(PYTHON). Install Python 3.11 or newer, or name one that you have:"; \
	    echo "  make $(GOAL) PYTHON=python3.12"; exit 1; } >&2
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) does not run, or is older than the Python 3.11 that is needed. Name one:"; \
	    echo "  make $(GOAL) PYTHON=python3.12"; exit 1; } >&2
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu:"; \
	    echo "  sudo apt-get install python3-venv"; \
	    echo "or name another one: make $(GOAL) PYTHON=python3.12"; exit 1; } >&2
	@echo "Making .venv with $$('$(PYTHON)' --version 2>&1)"
	@'$(PYTHON)' -m venv --clear .venv
