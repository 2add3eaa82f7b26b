# `make benchmark` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITES := benchmarks/suites
RUN := $(BIN)/python -m benchmarks.run

.PHONY: benchmark baselines ablation report test test-matrix reliability perf lint \
  results clean
.DEFAULT_GOAL := help

help:
	@echo 'make benchmark    train AGNN on strictly cold films and print the table'
	@echo 'make baselines    all scenarios beside all baselines, one split (an hour)'
	@echo 'make ablation     what each part of AGNN is worth, in all scenarios (hours)'
	@echo 'make report       all results as a page in runs/'
	@echo 'make test         run all tests'
	@echo 'make test-matrix  run the quick ones under other versions'
	@echo 'make reliability  properties, damaged files and killed processes, for hours'
	@echo 'make perf         measure speed and memory (an hour)'
	@echo 'make lint         check style'
	@echo 'make results      repeat every committed result and the tables of the READMEs'

# The stamp is younger than the files it was installed from.
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

benchmark: $(VENV)/installed
	$(RUN) $(SUITES)/quick.toml

# Baselines that take minutes, with libraries of their own.
baselines: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[baselines]'
	$(RUN) $(SUITES)/rating.toml --splits 0 --seeds 0

# What each part is worth: hours for all scenarios.
ablation: $(VENV)/installed
	$(RUN) $(SUITES)/ablation.toml
	$(RUN) $(SUITES)/few-shot-ablation.toml

report: $(VENV)/installed
	$(BIN)/python -m benchmarks.report --out runs/report.html

# Two processes, a thread and a file of tests each: more would crowd out what is timed.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
	  --no-loadscope-reorder

# Under the lowest and the newest versions: gigabytes of them, and an hour.
test-matrix: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[matrix]'
	$(BIN)/nox --noxfile tests/noxfile.py --envdir "$(CURDIR)/.nox"

# Long looks: random tables, damaged files, processes killed at any moment.
reliability: $(VENV)/installed
	$(BIN)/python -m pytest tests/properties --hypothesis-profile nightly
	COLDSTART_FUZZ=1500 $(BIN)/python -m pytest tests/fuzz
	COLDSTART_KILLS=20 $(BIN)/python -m pytest tests/interruption

# A quiet machine: figures go to runs/perf.csv.
perf: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[perf]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -W ignore benchmarks/perf/bench_*.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Repeats whatever is in benchmarks/results: days.
results: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[baselines,perf]'
	for suite in rating rating-fresh ablation few-shot-lastfm few-shot-ml100k \
	    few-shot-ablation public ablation-public implicit implicit-lastfm small; do \
	  $(RUN) $(SUITES)/$$suite.toml --results benchmarks/results --force || exit 1; \
	done
	$(RUN) $(SUITES)/small.toml --data ml-100k-1000 --splits 2 3 4 5 6 7 8 9 \
	  --results benchmarks/results --force
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -W ignore benchmarks/perf/bench_*.py \
	  --results benchmarks/results
	$(BIN)/python -m benchmarks.report README.md benchmarks/README.md

clean:
	rm -rf $(VENV) build dist *.egg-info runs
