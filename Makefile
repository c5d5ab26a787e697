# make demo, make test: each makes its own virtual environment when there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.anomalydetect-installed
# The version that the figures were measured with; any other from the dependency range is as good.
TORCH ?= torch==2.13.0

.PHONY: demo test lint bundle cmake-lists screenshots slicer-test clean

demo: $(STAMP)
	$(BIN)/anomalydetect demo

# One thread: on two, which wait for each other by spinning, small networks take ten times as long beside any other
# process.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed; choose one with: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install "$(TORCH)" \
		|| $(BIN)/python -m pip install torch
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $@

# An offline bundle for Slicer's Python on this system; `anomalydetect bundle --help` names others.
bundle: $(STAMP)
	$(BIN)/anomalydetect bundle dist/bundle --python-version 3.12

# After a file was added or removed: what CMake packages.
cmake-lists:
	$(PYTHON) Testing/packaging/cmake_lists.py

# After a change of panel, views or models: the picture of README and Extensions Manager. Look at it.
screenshots: $(STAMP)
	$(BIN)/python -m Testing.slicer_host.screenshots

# In a Slicer application, which the tests of `make test` do without.
slicer-test:
	@test -n "$(SLICER)" || { echo "Name the application: make slicer-test SLICER=path/to/Slicer"; exit 1; }
	"$(SLICER)" --testing --no-splash --no-main-window --ignore-slicerrc \
		--additional-module-paths "$(CURDIR)/AnomalyDetect" --python-script Testing/slicer/desktop_story.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
