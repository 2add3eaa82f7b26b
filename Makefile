# `make benchmark` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIGS := benchmarks/configs

.PHONY: benchmark peers ablation report test test-matrix reliability lint results clean
.DEFAULT_GOAL := help

help:
	@echo 'make benchmark    train AGNN on strictly cold films and print the table'
	@echo 'make peers        the same beside every peer, in all modes (an hour)'
	@echo 'make ablation     what each part of AGNN is worth, in all modes (hours)'
	@echo 'make report       all results, and worked examples, as pages in runs/'
	@echo 'make test         run all tests'
	@echo 'make test-matrix  run the quick ones under other versions'
	@echo 'make reliability  fuzz, kill and wear it out, for hours'
	@echo 'make lint         check style'
	@echo 'make results      repeat every committed result and the tables of the READMEs'

# The stamp is younger than the files it was installed from.
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

benchmark: $(VENV)/installed
	$(BIN)/python -m benchmarks.agnn $(CONFIGS)/agnn/ml100k-item-cold.toml --seeds 0

# Peers that take minutes, with libraries of their own.
peers: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	for config in item-cold user-cold both-cold warm; do \
	  $(BIN)/python -m benchmarks.agnn $(CONFIGS)/agnn/ml100k-$$config.toml \
	    --seeds 0 --peers all || exit 1; \
	done

# What each part is worth: hours for all modes.
ablation: $(VENV)/installed
	for config in item-cold user-cold both-cold warm; do \
	  $(BIN)/python -m benchmarks.ablation $(CONFIGS)/agnn/ml100k-$$config.toml \
	    --seeds 0 1 2 --split-seeds 0 1 2 --out benchmarks/results || exit 1; \
	done

# The examples train two small models the first time.
report: $(VENV)/installed
	$(BIN)/python -m benchmarks.report --out runs/report.html
	$(BIN)/python -m benchmarks.examples --out runs/examples.html

# Two processes, a thread and a file of tests each: more would crowd out what is timed.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Under the lowest and the newest versions: gigabytes of them, and an hour.
test-matrix: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[matrix]'
	$(BIN)/nox --noxfile tests/noxfile.py --envdir "$(CURDIR)/.nox"

# What the project withstands, looked at long: hours.
reliability: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[matrix]'
	$(BIN)/python -m benchmarks.reliability

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

results: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	for config in item-cold user-cold both-cold warm; do \
	  for split in 0 1 2; do \
	    $(BIN)/python -m benchmarks.agnn $(CONFIGS)/agnn/ml100k-$$config.toml \
	      --seeds 0 1 2 --split-seed $$split --peers all --out benchmarks/results \
	      || exit 1; \
	  done; \
	done
	for config in item-cold user-cold both-cold warm; do \
	  for split in 0 1 2; do \
	    $(BIN)/python -m benchmarks.agnn $(CONFIGS)/agnn/ml100k-$$config-as-published.toml \
	      --seeds 0 --split-seed $$split --peers none \
	      --out benchmarks/results/published || exit 1; \
	  done; \
	done
	for split in 10 11 12 13 14 15 16 17 18 19; do \
	  for run in 'item-cold quick' 'user-cold quick' 'both-cold quick lightgbm' \
	      'warm quick myfm_implicit'; do set -- $$run; config=$$1; shift; \
	    $(BIN)/python -m benchmarks.agnn $(CONFIGS)/agnn/ml100k-$$config.toml \
	      --split-seed $$split --peers $$* --out benchmarks/results/fresh || exit 1; \
	  done; \
	done
	for config in lastfm ml100k lastfm-as-published; do \
	  for split in 2020 1 2 3 4 5; do \
	    $(BIN)/python -m benchmarks.tanp $(CONFIGS)/tanp/$$config.toml \
	      --seeds 0 1 2 --split-seed $$split --out benchmarks/results || exit 1; \
	  done; \
	done
	$(BIN)/python -m benchmarks.tanp_plots benchmarks/results/tanp/*
	rm -f benchmarks/results/tanp-ablation.json benchmarks/results/scale.json
	$(MAKE) ablation
	$(BIN)/python -m benchmarks.tanp_ablation --out benchmarks/results
	$(BIN)/python -m benchmarks.serving --out benchmarks/results
	$(BIN)/python -m benchmarks.agnn_serving --out benchmarks/results
	$(BIN)/python -m benchmarks.layer --out benchmarks/results
	$(BIN)/python -m benchmarks.scale --out benchmarks/results
	$(BIN)/python -m benchmarks.profile --out benchmarks/results
	$(BIN)/python -m benchmarks.tables --write README.md benchmarks/README.md

clean:
	rm -rf $(VENV) build dist *.egg-info runs
