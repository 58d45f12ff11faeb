# make demo: set up and run the main job.  make test: set up and pass the tests.
# make web: set up and serve the web app on http://127.0.0.1:8080.
# make image-test: build the container image and run it, without Docker; root, and apt install buildah debootstrap.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test web image-test clean

$(VENV)/bin/bystander: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[demo,lab,dev]'
	touch $@

$(VENV)/.web: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[web]'
	touch $@

demo: $(VENV)/bin/bystander
	$(VENV)/bin/bystander demo

web: $(VENV)/.web
	$(VENV)/bin/bystander web

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pytest

image-test:
	bash docker/test.sh

clean:
	rm -rf $(VENV) demo
