# `make help` lists the commands. Each does its own set-up: Python 3.11 or later, git and make are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BUILDS := $(VENV)/.site
READY  := $(VENV)/.ready
SITE   := _build/html/index.html
NOTEBOOKS := $(sort $(wildcard notebooks/*/*.ipynb))
# one thread for each of the two test workers, as in tools/execute.py: re-execution is then reproducible
# (MALLOC_...: keep freed memory; glibc returns large blocks at once, and a third of the time went into fetching them again)
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 DGM_RETRAIN=never PYTHONHASHSEED=0 \
  MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 PYTHONSTARTUP=$(CURDIR)/tools/strict_cells.py
TEST_OPTIONS := --nbval-lax --nbval-current-env --nbval-cell-timeout=900 \
  -n 2 --dist loadfile --no-loadscope-reorder --durations=10

TESTS ?= notebooks tests

.DEFAULT_GOAL := help
.PHONY: help setup book site pdf test check fast lint format run vary cache execute retrain claims lab serve bench lock platforms clean

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH=cpu takes PyTorch's wheels for the processor; without TORCH they are those of the lock. There is no TORCH=$(TORCH))
endif

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: $(READY)  ## create .venv with all pinned requirements (every other command sets up what it needs by itself)

# Two stamps: what building the site needs, and on top of it the rest. The first installation leaves alone what it does
# not name, so that `make book` after `make test` takes nothing away.
$(BUILDS): requirements-site.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $< uv
	@echo "Installing what the site needs into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --requirements $<
	@touch $@

# TORCH=cpu: from PyTorch's own index, and without the packages of CUDA, which the lock lists for Linux
$(READY): $(BUILDS) requirements.txt pyproject.toml
	@echo "Installing the rest of the pinned requirements into $(VENV) ..."
	@sed -E '$(if $(TORCH),/^(cuda|nvidia)-|^triton==/d)' requirements.txt | \
	  $(BIN)/uv pip sync --quiet --python $(BIN)/python $(if $(TORCH),--torch-backend=cpu) -
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Built clean each time: an incremental build keeps numbers quoted from older notebooks.
site: $(BUILDS)
	@rm -rf _build/html _build/.doctrees
	@$(BIN)/jupyter-book build . --warningiserror --nitpick --keep-going --quiet

book: site  ## build the site into _build/html from the outputs stored in the notebooks
	@echo "The book is built. Open file://$(abspath $(SITE))"

pdf: $(BUILDS)  ## build the whole book as one PDF (needs XeLaTeX and latexmk)
	@command -v xelatex >/dev/null && command -v latexmk >/dev/null || { echo "XeLaTeX and latexmk are needed. On Debian: \
	apt-get install texlive-xetex texlive-latex-extra texlive-fonts-recommended tex-gyre fonts-freefont-otf xindy latexmk" >&2; exit 1; }
	@rm -rf _build/latex _build/.doctrees
	@$(BIN)/jupyter-book build . --builder latex --warningiserror --nitpick --keep-going --quiet
	@$(MAKE) --no-print-directory -C _build/latex LATEXMKOPTS="-interaction=nonstopmode -halt-on-error -quiet" all-pdf >_build/latex/make.log 2>&1 || { \
	  grep -A3 "^!" _build/latex/book.log >&2; exit 1; }
	@if grep -E "(Reference|Citation|Hyper reference) .* undefined" _build/latex/book.log >&2; then exit 1; fi
	@echo "The book is built: $(abspath _build/latex/book.pdf)"

test: $(READY) site  ## all tests: the package, every notebook re-executed and compared, the built site opened in a browser
	$(TEST_ENV) $(BIN)/python -m pytest $(TESTS) $(TEST_OPTIONS)

check: $(READY)  ## of these the ones that a change can affect: what has not passed on this machine as it is now
	$(TEST_ENV) $(BIN)/python tools/check.py $(TEST_OPTIONS)

fast: $(READY)  ## tests of the package and of the repository's rules: no notebook is executed, no browser opened
	$(BIN)/python -m pytest tests --ignore=tests/site -m "not site"

lint: $(READY)  ## check formatting and style
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

format: $(READY)  ## format code and notebooks
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

run: $(READY)  ## run one notebook into _build/run and show its progress, NOTEBOOK=path; no tracked file changes
	@$(BIN)/python tools/run.py $(NOTEBOOK)

vary: $(READY)  ## change every setting of the notebooks, one at a time, and tell what breaks: hours (NOTEBOOKS=...)
	$(BIN)/python tools/vary.py $(NOTEBOOKS)

cache: $(READY)  ## show what the results of your own settings take on the disk; CLEAR=1 deletes them
	@$(BIN)/python -m dgm_helpers.training.cache $(if $(CLEAR),--clear)

execute: $(READY)  ## re-execute the notebooks in place (NOTEBOOKS=... for some of them)
	$(BIN)/python tools/execute.py $(NOTEBOOKS)
	$(BIN)/python tools/picture.py

retrain: $(READY)  ## train every stored model afresh into weights/, then re-execute (NOTEBOOKS=... for those of some)
	DGM_RETRAIN=always $(BIN)/python tools/execute.py $(NOTEBOOKS)
	$(BIN)/python tools/picture.py
	$(BIN)/python tools/play_codes.py

claims: $(READY)  ## try the named mistake of every check that was not tried as it is now (NOTEBOOKS=... for some)
	$(TEST_ENV) $(BIN)/python tools/claims.py --run $(NOTEBOOKS)

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

serve: book  ## build the site and serve it on this machine
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

bench: $(READY)  ## print the speed tables
	$(BIN)/python -m benchmarks

COMPILE := $(BIN)/uv pip compile --quiet --python-version
lock: $(BUILDS)  ## write requirements.txt and requirements-site.txt from what their .in files name; other pins stay
	$(COMPILE) 3.11 --universal --no-emit-index-url --no-header requirements.in --output-file requirements.txt
	$(COMPILE) 3.11 --universal --no-emit-index-url --no-header --no-annotate --constraint requirements.txt \
	  requirements-site.in --output-file requirements-site.txt

SYSTEMS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-apple-darwin aarch64-apple-darwin x86_64-pc-windows-msvc
platforms: $(BUILDS)  ## check that what the site needs can be installed on Linux, macOS and Windows, Python 3.11 to 3.14
	@for python in 3.11 3.12 3.13 3.14; do for system in $(SYSTEMS); do \
	  $(COMPILE) $$python --python-platform $$system --only-binary :all: requirements-site.txt >/dev/null || { \
	    echo "requirements-site.txt cannot be installed on $$system with Python $$python" >&2; exit 1; }; done; done

clean:  ## remove the environment and everything built
	rm -rf $(VENV) _build
