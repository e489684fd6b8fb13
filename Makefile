# make demo   set up, train the shipped tiny model, show before and after     (ARGS='--run.seed 1' is passed on)
# make test   set up, run the tests: the jail and the vLLM engine (its CPU build) included
# make lint   ruff's checks and format
# make docs   the guide and the API reference as a site: site/index.html
# make clean  remove what set-up and tests left behind; runs/ stays
# PYTHON=/path/to/python3.12 picks the interpreter that makes .venv

PYTHON ?=
ARGS ?=

.PHONY: demo test lint docs clean

demo:
	@bash tools/setup.sh train '$(PYTHON)'
	@.venv/bin/python -m recall_train $(ARGS)

test:
	@bash tools/setup.sh test '$(PYTHON)'
	@.venv/bin/python -m pytest $(ARGS)
	@.venv/bin/python -m pytest -m vllm $(ARGS) || { s=$$?; [ -n '$(ARGS)' ] && [ $$s = 5 ]; }  # 5: ARGS hold none

lint:
	@bash tools/setup.sh dev '$(PYTHON)'
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .

docs:
	@bash tools/setup.sh docs '$(PYTHON)'
	@.venv/bin/python tools/reference/reference_site.py

clean:
	rm -rf .venv wandb .pytest_cache .ruff_cache .hypothesis recall.egg-info build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
