# `make benchmark` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIGS := benchmarks/configs

.PHONY: benchmark peers ablation test lint results clean
.DEFAULT_GOAL := help

help:
	@echo 'make benchmark  train AGNN on strictly cold films and print the table'
	@echo 'make peers      the same beside every peer, in all modes (an hour)'
	@echo 'make ablation   what each part of AGNN is worth, in all modes (hours)'
	@echo 'make test       run all tests'
	@echo 'make lint       check style'
	@echo 'make results    repeat every committed result and the tables of the README'

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

test: $(VENV)/installed
	$(BIN)/python -m pytest

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
	for config in lastfm lastfm-ensemble ml100k lastfm-as-published; do \
	  for split in 2020 1 2 3 4 5; do \
	    $(BIN)/python -m benchmarks.tanp $(CONFIGS)/tanp/$$config.toml \
	      --seeds 0 1 2 --split-seed $$split --out benchmarks/results || exit 1; \
	  done; \
	done
	$(BIN)/python -m benchmarks.tanp_plots benchmarks/results/tanp/*
	$(BIN)/python -m benchmarks.tanp_ablation --out benchmarks/results
	$(BIN)/python -m benchmarks.serving --out benchmarks/results
	$(BIN)/python -m benchmarks.layer --out benchmarks/results
	$(BIN)/python -m benchmarks.scale --out benchmarks/results
	$(BIN)/python -m benchmarks.tables --write README.md

clean:
	rm -rf $(VENV) build dist *.egg-info runs
