# make book | test | serve | lint | bench | peer | release | clean        (each sets up .venv by itself)

PYTHON  ?= python3
WORKERS ?= 2
BIN     := .venv/bin
READY   := .venv/.ready
BOOK    := _build/html/index.html

.PHONY: book peer test serve lint bench release clean system
.DEFAULT_GOAL := book

book: $(READY)
	$(BIN)/jupyter-book build -W --keep-going .
	@echo "The book is at $(BOOK): open it in any browser, no server needed."

test: $(READY) system node_modules/.package-lock.json
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

peer: $(READY)
	test -x .venv-peer/bin/python || $(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet neural-tangents==0.6.5 jax==0.4.26 jaxlib==0.4.26 tf2jax==0.3.6 "numpy<2" "scipy<1.13"

serve: book
	@echo "http://localhost:8000 (stop with Ctrl-C)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python -m benchmarks

release: $(READY)
	$(BIN)/python -m exercises.release

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis node_modules
	find ntklab tests book exercises benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(READY): requirements.txt constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Browser, sandbox and npm for the tests: installed where root may do so, named where not (those tests then skip).
system:
	@missing=""; \
	for pair in chromium:chromium bwrap:bubblewrap setpriv:util-linux npm:npm git:git; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	test -z "$$missing" || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	  else \
	    echo "Missing for the whole test-suite:$$missing"; \
	    echo "Install with: sudo apt-get install$$missing"; \
	  fi; }

node_modules/.package-lock.json: package.json package-lock.json | system
	@if command -v npm >/dev/null; then npm ci --ignore-scripts --no-audit --no-fund; fi
