# The verbs of this project. Each sets up what it needs, once; PYTHON chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
BUNDLE := jupyter_ssechat/static/widget.js
JS_SOURCES := $(wildcard js/src/*) js/package.json
EXTRA_ARGS ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
export npm_config_save = false
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test soak bench pictures reference notebooks lint format dist pins clean tools browser redis kernels js-check

help: ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

demo: .venv/.demo $(BUNDLE) ## open JupyterLab on the first notebook; it prints its URL
	@scripts/demo

test: browser redis .venv/.test $(BUNDLE) kernels lint js-check ## run every test
	scripts/offline $(BIN)/pytest notebooks --nbval -p jupyter_ssechat.testing
	$(BIN)/pytest tests notebooks --nbval -p jupyter_ssechat.testing --numprocesses 2 --dist loadfile $(EXTRA_ARGS)

soak: browser redis .venv/.test $(BUNDLE) kernels ## run the long versions of tests
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest tests -m "soak or hypothesis" --timeout 7200 $(EXTRA_ARGS)

bench: .venv/.test $(BUNDLE) ## run the benchmarks; prints a table and JSON
	$(BIN)/python -m benchmarks $(EXTRA_ARGS)

pictures: browser .venv/.test $(BUNDLE) kernels ## take the pictures of the README anew
	SSECHAT_SHOTS=docs $(BIN)/pytest tests/pictures.py

reference: .venv/.test ## write the pages of docs/ that are made from the code
	$(BIN)/python scripts/reference.py

lint: .venv/.test ## ruff and pyright
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.test js/node_modules/.installed ## format Python and TypeScript
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cd js && npm run format

dist: .venv/.test ## build the wheel and the sdist into dist/
	$(BIN)/python -m build

pins: .venv/.test ## write the versions in use to constraints.txt
	{ echo '# The versions that make installs; `make pins` writes them.'; $(BIN)/pip freeze --exclude-editable; } > pins.tmp
	mv pins.tmp constraints.txt

notebooks: .venv/.test $(BUNDLE) ## run the notebooks, and save them as they came out
	$(BIN)/python scripts/notebooks.py

clean: ## remove all that the other verbs have made
	rm -rf .venv .kernels .pytest_cache .ruff_cache .hypothesis build dist js/node_modules
	rm -rf jupyter_ssechat/static jupyter_ssechat/labextension/static benchmarks/browser/node_modules
	find . -name __pycache__ -prune -exec rm -rf {} +

tools:
	@PYTHON=$(PYTHON) scripts/require tools

browser:
	@scripts/require browser

redis:
	@scripts/require redis

kernels: .venv/.test
	@$(BIN)/python -m tests.kernels

js-check: js/node_modules/.installed
	cd js && npm run check && npm test

js/node_modules/.installed: js/package.json js/package-lock.json | tools
	cd js && npm ci
	@touch $@

$(BUNDLE): $(JS_SOURCES) js/node_modules/.installed
	cd js && npm run build
	@touch $@

.venv/bin/pip: | tools
	$(PYTHON) -m venv .venv

# An editable install builds the bundle too; npm's packages come first, so that it finds them.
.venv/.demo .venv/.test: .venv/.%: pyproject.toml constraints.txt .venv/bin/pip | js/node_modules/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@
