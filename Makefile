# One line a target that a person can read. `make help` lists them.
PYTHON   ?= python3
BIN      := .venv/bin
AS_ROOT  := $(if $(filter 0,$(shell id -u)),--allow-root)
PACKAGE  := .[course,test,cluster,book]
PYTEST    = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
HANDOUT  := assignments lectures cnnlab Makefile pyproject.toml constraints.txt environment.yml \
            nbgrader_config.py README.md LICENSE
export PATH := $(CURDIR)/$(BIN):$(PATH)

# $(call stage,NAME,COMMAND) runs a command and prints how long it took.
stage = @echo "--- $(1)"; start=$$(date +%s); $(2); status=$$?; \
        echo "--- $(1): $$(($$(date +%s) - start)) s"; exit $$status

.DEFAULT_GOAL := help
.PHONY: help setup lab test test-slow test-gpu lint lectures coverage book slides assignments \
        experiments grader-quality release release-instructor constraints

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: .venv/.ready  ## build .venv with the exact versions of constraints.txt

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or newer is needed and this is " + sys.version.split()[0] + ": make setup PYTHON=/path/to/a/newer/python3")'
	$(call stage,set-up,$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(PACKAGE)')
	@$(BIN)/jupyter server extension enable --sys-prefix cnnlab.grading.server 2>/dev/null
	@touch $@

lab: setup  ## open JupyterLab on the course (LAB_ARGS=--no-browser prints its address only)
	$(BIN)/jupyter lab $(AS_ROOT) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/lectures/00_start_here.ipynb $(LAB_ARGS)

test: lint  ## set up, then run all tests but the slow ones
	$(call stage,unit and course tests,$(PYTEST) --dist loadfile --no-loadscope-reorder -m 'not slow and not gpu' tests)
	$(call stage,lectures give their stored outputs,CNNLAB_DEVICE=cpu $(PYTEST) --dist loadscope --nbval --nbval-cell-timeout=120 lectures)
	$(call stage,solutions run,CNNLAB_DEVICE=cpu $(PYTEST) --dist loadscope --nbval-lax --nbval-cell-timeout=120 solutions)

test-slow: setup  ## the proofs that take minutes
	$(call stage,slow tests,$(PYTEST) --dist loadfile --no-loadscope-reorder -m 'slow and not gpu' tests)

test-gpu:  ## the tests that need a GPU, with an interpreter that is there (PYTHON=python3)
	$(PYTHON) -m pytest -m gpu --ignore=tests/course --ignore=tests/grading tests

lint: setup  ## ruff on the code and the notebooks
	$(call stage,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

lectures: setup  ## run the lectures again and store their outputs
	CNNLAB_DEVICE=cpu CNNLAB_WIDGETS=off $(BIN)/jupyter nbconvert --to notebook --execute --inplace --coalesce-streams --ExecutePreprocessor.record_timing=False lectures/*.ipynb

coverage: setup  ## write docs/coverage.md: which lecture teaches what, and what none does
	$(BIN)/python -m tests.course.what_is_taught

assignments: setup  ## generate assignments/ from solutions/ (VARIANT=2027: other numbers in tables)
	failed=0; for folder in solutions/*/; do \
	    CNNLAB_VARIANT=$(VARIANT) $(BIN)/nbgrader generate_assignment --force $$(basename $$folder) || failed=1; \
	done; exit $$failed

grader-quality: setup  ## try wrong answers, right ones and mutants on every grader: docs/grader-quality.md
	$(BIN)/python tests/checks/grader_quality.py

book: setup  ## the lectures, assignments and docs/ as a site that needs no network: dist/book
	$(BIN)/sphinx-build --quiet --keep-going -c docs/book . dist/book

slides: setup  ## a lecture as slides that need no network (LECTURE=05): dist/slides
	$(BIN)/python docs/nbconvert/slides.py lectures/$(LECTURE)*.ipynb

# The files under version control as they are now (a variant is not committed), and the checks.
ARCHIVE   = mkdir -p dist && git archive --format=tar.gz \
    $$(for f in assignments/*/*.checks; do echo --prefix=cnnlab/$$(dirname $$f)/ --add-file=$$f; done) \
    --prefix=cnnlab/ --output=dist/$(1).tar.gz \
    $$(tree=$$(git -c user.name=- -c user.email=- stash create); echo $${tree:-HEAD})

release: assignments  ## an archive for students: no references, no solutions, no tests, no key
	$(call ARCHIVE,cnnlab) -- $(HANDOUT)

release-instructor: assignments  ## an archive of everything, for other instructors
	$(call ARCHIVE,cnnlab-instructor)

bench-%: setup  ## measure, and write docs/benchmarks/ (cost, models, cuda, training, grading)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.$*

constraints: .venv/.ready  ## write the versions that are installed into constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new && mv constraints.new constraints.txt

experiments: setup  ## run the lectures' experiments on many seeds and store their table (SEEDS=5)
	OMP_NUM_THREADS=1 $(BIN)/python -m cnnlab.experiments --seeds $(or $(SEEDS),5)
