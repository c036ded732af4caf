# The whole loop: `make demo` shows it, `make test` proves it. Both build what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# One line of pip's many, and where the others are.
CANNOT_INSTALL = \
	if grep -q -e 'after connection broken by' -e '(from versions: none)' $(VENV)/install.log; \
	then why="the package index cannot be reached"; \
	else why=$$(grep -m 1 '^ERROR: ' $(VENV)/install.log || tail -n 1 $(VENV)/install.log); fi; \
	echo "cannot install asyncbuild into $(VENV): $$why" >&2; \
	echo "  remedy: give this machine access to a Python package index; pip's settings apply" \
		"(PIP_INDEX_URL, PIP_PROXY, PIP_CERT). All that pip said: $(VENV)/install.log" >&2

# More of them than cores: tests wait for servers, leases and children most of their time. Each takes some
# hundred megabytes, with its servers.
WORKERS ?= $(shell echo $$(($$(nproc) + 4)))

# Processes that tests start would compile all of asyncbuild again, each of them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo docs test test-git lint changelog wheel test-wheel types servers soak chaos chaos-results chaos-lost payloads hostile rolling search mutants test-huge test-newer-aws bench bench-push bench-warm bench-delta prove-delta bench-git pin \
	prove-cache prove-memory lock clean

help:
	@echo "make demo         pushes become builds, on this machine alone"
	@echo "make docs         the documentation site, in .site/html; every warning is an error   [DOCS_FILES_URL=…/blob/main]"
	@echo "make test         formatter, linter, import rules, types, tests"
	@echo "make lint         formatter, linter and import rules alone; make types: mypy"
	@echo "make changelog    the changes of changelog.d/, shown, or put into CHANGELOG.md   [VERSION=0.2.0]"
	@echo "make test-git     those of them that depend on git"
	@echo "make wheel        dist/asyncbuild-VERSION-py3-none-any.whl"
	@echo "make test-wheel   the tests with that wheel installed   [PYTHON=python3.13 TESTS=tests/unit]"
	@echo "make pin          writes down what users see, after a change of it that is meant"
	@echo "make search       what the suite tries shortly, for long: 2,000 random deltas against git archive"
	@echo "make fuzz         every reader of foreign input, for half an hour   [SECONDS_EACH_CORE=1800 CORES=2]"
	@echo "make mutants      small faults put into the pure modules: which of them no test sees   [MUTANTS='*.lane.*' CORES=2]"
	@echo "make soak         1,000 pushes and 200 malformed messages; memory"
	@echo "make payloads     webhooks that other projects keep for their tests, each read as what it is   [PAYLOADS=DIR]"
	@echo "make hostile      500 honest pushes beside ten minutes of attacks   [SECONDS=600 SEED=1]"
	@echo "make rolling      200 pushes through an older version and this one at once     OLD=commit"
	@echo "make chaos        5,000 worlds of the queue; 2,000 pushes under kills and faults"
	@echo "make chaos-lost   2,000 pushes, of which 5 % lose their event, 5 % are late, 5 % come twice, under kills   [KILLS=60 SEED=1]"
	@echo "make chaos-results  1,000 pushes whose builds end while tasks are killed and events get lost   [KILLS=30 SEED=1]"
	@echo "make test-huge    zip64 for real: 4 GiB"
	@echo "make test-newer-aws  what rests on AWS, with the newest aiobotocore: may fail"
	@echo "make bench        the archive engine against git archive, zip and others"
	@echo "make bench-push   the cost of a push beside the same steps by hand: CPU, wall, processes, requests   [PUSHES=500]"
	@echo "make bench-warm   clones of four processes to those of one; cold pushes; with seeds and without   [PUSHES=1000 KILLS=0]"
	@echo "make bench-delta  delta archives against full ones   [REPOSITORY=path]"
	@echo "make prove-delta  200 delta archives of a chain, read by every reader   REPOSITORY=path"
	@echo "make lock         the versions and hashes in deploy/locks, from constraints.txt"
	@echo "make bench-git    fetches against git by hand         REPOSITORY=path"
	@echo "make prove-cache  500 repositories through a cache budget for 100   [MANY=500 ROOM=100 AT_ONCE=8]"
	@echo "make prove-memory nine pushes that are large for git, in a control group of 2 GiB; as root, with 12 GB of disk"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml deploy/locks/dev.txt
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) must be Python 3.11 or newer with venv: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing asyncbuild and what its tests need into $(VENV): once, about a minute ..."
	@{ $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/dev.txt && \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; } \
		> $(VENV)/install.log 2>&1 || { $(CANNOT_INSTALL); exit 1; }
	touch $@

demo: install
	$(BIN)/asyncbuild demo

# The pages of the repository, and a reference generated from the code. It can be read without a network.
docs: $(VENV)/.docs
	PYTHONPATH=docs/site:tests $(BIN)/python -m manual .site

$(VENV)/.docs: $(VENV)/.installed constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# At the end every call of AWS that any test made is compared with the rights of the stack's role.
test: install lint types servers
	@rm -rf .recorded && mkdir .recorded
	RECORDED_CALLS=$(CURDIR)/.recorded $(BIN)/pytest -n $(WORKERS) --dist loadfile
	PYTHONPATH=tests $(BIN)/python -m support.rights .recorded

# What another git could change; `.ci/other-debian` runs it with the git of another Debian.
GIT_TESTS := tests/unit/git tests/integration/git tests/integration/archive \
	$(wildcard tests/integration/commands/test_archive_*.py)
test-git: install servers
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(GIT_TESTS)

wheel: install
	rm -rf dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# A wheel as users install it: no module comes from the checkout (PYTHONSAFEPATH), and PYTHON may be another.
WHEEL ?= $(firstword $(wildcard dist/asyncbuild-*.whl))
WHEEL_VENV := .venv-wheel
test-wheel:
	$(PYTHON) -m venv --clear $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/dev.txt
	$(WHEEL_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps '$(WHEEL)'
	$(WHEEL_VENV)/bin/python -P -m asyncbuild.local.servers.children
	TESTED_WHEEL='$(abspath $(WHEEL))' PYTHONSAFEPATH=1 \
		$(WHEEL_VENV)/bin/pytest -n $(WORKERS) --dist loadfile $(TESTS)

# Tests compare with these files: commands, settings, log fields, keys, records, metrics, archives.
PINNED := $(wildcard tests/unit/project/test_interface.py tests/contract/test_interface*.py)
pin: install servers
	PIN_INTERFACE=1 $(BIN)/pytest -q -n $$(nproc) --dist loadfile $(PINNED)
	git status --short tests/fixtures/interface

# The fragments of changelog.d/ as a section of CHANGELOG.md: shown, or written where VERSION is given.
changelog: install
	$(BIN)/towncrier build $(if $(VERSION),--yes --version '$(VERSION)',--draft --version 'next release')

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports

servers: install
	PYTHONPATH=tests $(BIN)/python -m support.seaweedfs

# Looks for what nobody has thought of: each line ends with the first difference, and its seed.
search: install servers
	PYTHONPATH=tests $(BIN)/python -m support.differential 2000

# Guided by coverage where there is a wheel of atheris for this Python; else at random.
fuzz: install
	@$(BIN)/pip install --quiet --disable-pip-version-check 'atheris==3.0.0' 2>/dev/null || \
		echo "no atheris for this Python: inputs are changed at random"
	PYTHONPATH=tests $(BIN)/python -m support.fuzz $(or $(SECONDS_EACH_CORE),1800) $(CORES)

# Changes pure modules, one place at a time, and runs the tests that execute that place. What was found is
# kept in `mutants/`: another run tries only what has changed. `.venv/bin/mutmut show NAME` prints a mutant.
mutants: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/mutmut run $(if $(CORES),--max-children $(CORES)) $(if $(MUTANTS),'$(MUTANTS)')
	$(BIN)/mutmut results --all true | PYTHONPATH=tests $(BIN)/python -m support.mutants

chaos: install servers
	ASYNCBUILD_WORLD_EXAMPLES=5000 $(BIN)/pytest tests/unit/queue/test_queue_world.py \
		tests/unit/builds/test_content_machine.py \
		tests/unit/reconcile/test_lost_world.py \
		tests/unit/results/test_result_world.py tests/unit/results/test_cancel_world.py \
		tests/unit/results/test_outcome_world.py -o timeout=0 --hypothesis-profile=search
	PYTHONPATH=tests $(BIN)/python -m support.chaos

# Builds pass and fail; their events are lost, doubled, disordered; other users' builds carry our variables. A
# quarter of an hour, most of which is the time that a build is left to its event.
chaos-results: install servers
	PYTHONPATH=tests $(BIN)/python -m support.chaos_results --kills $(or $(KILLS),30) --seed $(or $(SEED),1)

# Fetches eight projects from GitHub, or reads what an earlier run left in PAYLOADS.
payloads: install
	PYTHONPATH=tests $(BIN)/python -m support.foreign_payloads $(PAYLOADS)

# Events are lost, late and doubled while tasks are killed; a round finds the rest. With 300 seconds for an hour.
chaos-lost: install servers
	PYTHONPATH=tests $(BIN)/python -m support.chaos_lost --kills $(or $(KILLS),60) --seed $(or $(SEED),1)

hostile: install servers
	PYTHONPATH=tests $(BIN)/python bench/hostile.py --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

rolling: install servers
	PYTHONPATH=tests $(BIN)/python bench/rolling.py $(OLD)

soak: install servers
	PYTHONPATH=tests $(BIN)/python bench/soak.py

bench: install servers
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	PYTHONPATH=tests $(BIN)/python bench/engine.py $(foreach each,$(REPOSITORIES),--repository $(each))

# Two processes work on the same pushes in turns; the last line is one JSON object.
bench-push: install servers
	PYTHONPATH=tests $(BIN)/python bench/push --pushes $(or $(PUSHES),500)

# Needs 8 GB of disk while it runs, and half an hour. The last line is one JSON object.
bench-warm: install servers
	PYTHONPATH=tests $(BIN)/python bench/warm.py --pushes $(or $(PUSHES),1000) --kills $(or $(KILLS),0)

bench-delta: install
	$(BIN)/python bench/delta.py $(if $(REPOSITORY),--repository $(REPOSITORY))
	$(BIN)/python bench/delta.py --growth
	$(BIN)/python bench/delta.py --fallbacks

# 200 commits, each archive made of the one before, read by unzip, 7z, bsdtar, Python and Java.
prove-delta: install servers
	PYTHONPATH=tests $(BIN)/python bench/consecutive.py --repository $(REPOSITORY)

bench-git: install
	PYTHONPATH=tests $(BIN)/python bench/git.py --repository $(REPOSITORY)

prove-cache: install
	PYTHONPATH=tests $(BIN)/python bench/crowded.py --repositories $(or $(MANY),500) --room $(or $(ROOM),100) \
		--at-once $(or $(AT_ONCE),8)

# Needs a control group that limits memory, so mostly root; says so and skips where none can be made.
prove-memory: install servers
	PYTHONPATH=tests $(BIN)/python bench/memory_limit.py

# aioboto3 pins botocore of a year ago. What rests on SQS and S3 is tested with the newest pair, too,
# against that pin, once a week; it may fail without failing anything else (ARCHITECTURE.md, "Libraries").
NEWER := .venv-newer-aws
test-newer-aws: servers
	$(PYTHON) -m venv $(NEWER)
	$(NEWER)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(NEWER)/bin/pip install --quiet --disable-pip-version-check --upgrade aiobotocore
	$(NEWER)/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E '^(aioboto3|aiobotocore|botocore) '
	$(NEWER)/bin/pytest -n $(WORKERS) --dist loadfile tests/contract tests/unit/aws/test_error_codes.py \
		tests/integration/archive/test_delta_archives.py tests/integration/queue/test_lane_runner.py

types: install
	$(BIN)/mypy

# The versions of constraints.txt for every platform, with hashes: pip takes no other files.
LOCK := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-header -c constraints.txt
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --disable-pip-version-check uv
	mkdir -p deploy/locks
	$(LOCK) pyproject.toml -o deploy/locks/service.txt
	$(LOCK) --group build -o deploy/locks/build.txt
	$(LOCK) pyproject.toml --extra dev --extra otel --group build -o deploy/locks/dev.txt

clean:
	rm -rf $(VENV) .venv-lock $(WHEEL_VENV) .site dist $(NEWER) .servers .recorded mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis

test-huge: install
	$(BIN)/pytest -m huge tests/integration/zip/test_fidelity_huge.py
