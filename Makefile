# One line a target that a person can read. `make help` lists them.
PYTHON   ?= python3
TORCH    ?=
BIN      := .venv/bin
SET_UP   := "$(PYTHON)" set_up.py --torch '$(TORCH)'
AS_ROOT  := $(if $(filter 0,$(shell id -u)),--allow-root)
PYTEST    = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
HANDOUT  := assignments lectures cnnlab etc set_up.py pyproject.toml constraints.txt environment.yml \
            nbgrader_config.py LICENSE
STUDENTS := README.md Makefile etc/jupyter/labconfig/page_config.json \
            etc/jupyter/jupyter_server_config.d/student.json
export PATH := $(CURDIR)/$(BIN):$(PATH)

# $(call stage,NAME,COMMAND) runs a command and prints how long it took.
stage = @echo "--- $(1)"; start=$$(date +%s); $(2); status=$$?; \
        echo "--- $(1): $$(($$(date +%s) - start)) s"; exit $$status

.DEFAULT_GOAL := help
.PHONY: help setup lab hub test test-slow test-gpu gpu lint lectures coverage book slides assignments \
        experiments grader-quality release release-instructor check-sanitizer constraints

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup:  ## build .venv with the exact versions of constraints.txt (TORCH=cpu, TORCH=installed)
	@$(SET_UP) course test cluster book

lab:  ## open JupyterLab on the course (LAB_ARGS=--no-browser prints its address only)
	@$(SET_UP) course
	$(BIN)/jupyter lab $(AS_ROOT) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/lectures/00_start_here.ipynb $(LAB_ARGS)

hub:  ## a JupyterHub with the course, three accounts and automatic grading, for trying (PORT=8000)
	@PORT=$(PORT) TORCH=$(TORCH) "$(PYTHON)" deploy/hub/start.py $(HANDOUT) $(STUDENTS)

test: lint  ## set up, then run all tests but the slow ones: lectures give their stored outputs, solutions run
	$(call stage,tests and notebooks,$(PYTEST) -m 'not slow and not gpu' --nbval --nbval-cell-timeout=120 tests lectures solutions)

test-slow: setup  ## the proofs that take minutes
	@$(SET_UP) hub
	$(call stage,slow tests,$(PYTEST) -m 'slow and not gpu' tests)

test-gpu:  ## the tests that need a GPU, with a Python that has torch, pytest and hypothesis (PYTHON=python3)
	"$(PYTHON)" -m benchmarks.gpu tests

gpu:  ## all that only a GPU can show, with that Python: tests, lectures, benchmarks: docs/benchmarks/gpu*.json
	"$(PYTHON)" -m benchmarks.gpu

lint: setup  ## ruff on the code and the notebooks
	$(call stage,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

lectures: setup  ## run the lectures again and store their outputs
	CNNLAB_DEVICE=cpu CNNLAB_WIDGETS=off $(BIN)/jupyter nbconvert --to notebook --execute --inplace --coalesce-streams --ExecutePreprocessor.record_timing=False lectures/*.ipynb

coverage: setup  ## write docs/coverage.md: which lecture teaches what, and what none does
	$(BIN)/python -m tests.course.what_is_taught

assignments: setup  ## generate assignments/ from solutions/ (VARIANT=2027: other numbers in tables)
	CNNLAB_VARIANT=$(VARIANT) $(BIN)/python -m cnnlab.assignments.generate

grader-quality: setup  ## try wrong answers, right ones and mutants on every grader: docs/grader-quality.md
	$(BIN)/python tests/checks/grader_quality.py

book: setup  ## the lectures, assignments and docs/ as a site that needs no network: dist/book
	$(BIN)/sphinx-build --quiet --keep-going -c docs/book . dist/book

slides: setup  ## a lecture as slides that need no network (LECTURE=05): dist/slides
	$(BIN)/python docs/nbconvert/slides.py lectures/$(LECTURE)*.ipynb

# The files under version control as they are now (a variant is not committed), and the checks.
ARCHIVE   = mkdir -p dist && git archive --format=tar.gz $(2) \
    $$(for f in assignments/*/*.checks; do echo --prefix=cnnlab/$$(dirname $$f)/ --add-file=$$f; done) \
    --prefix=cnnlab/ --output=dist/$(1).tar.gz \
    $$(tree=$$(git -c user.name=- -c user.email=- stash create); echo $${tree:-HEAD})

release: assignments  ## an archive for students, with handout/ on top: no references, no tests, no key
	$(call ARCHIVE,cnnlab,$(foreach f,$(STUDENTS),--prefix=$(dir cnnlab/$(f)) --add-file=handout/$(f))) -- $(HANDOUT)

release-instructor: assignments  ## an archive of everything, for other instructors
	$(call ARCHIVE,cnnlab-instructor)

bench-%:  ## measure, and write docs/benchmarks/ (cost, models, cuda, training, grading, grading_scale, otter)
	@$(SET_UP) course cluster bench
	$(BIN)/python -m benchmarks.$*

check-sanitizer:  ## the kernels' battery under compute-sanitizer (needs a GPU and the CUDA toolkit)
	"$(PYTHON)" -m benchmarks.sanitizer

constraints: setup  ## write the versions that are installed into constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new && mv constraints.new constraints.txt

experiments: setup  ## run the lectures' experiments on many seeds and store their table (SEEDS=5)
	OMP_NUM_THREADS=1 $(BIN)/python -m cnnlab.experiments --seeds $(or $(SEEDS),5)
