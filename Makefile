# Everything a person types. `make reproduce` and `make test` set up what they need by themselves.
PYTHON ?= python3.11
PY := .venv/bin/python
PYTHON_FOUND := $(shell command -v $(PYTHON) || command -v python3)
FIGS := $(patsubst nbs/figures/fig%_,fig%,$(foreach f,$(wildcard nbs/figures/fig*.ipynb),$(firstword $(subst _,_ ,$(f)))))
unexport PYTHONDONTWRITEBYTECODE # Or every process would compile every module again
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1

.PHONY: help setup reproduce test test-faults check lab export clean-notebooks readme docs hooks claims figures $(FIGS)

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# The lock pins every package, also those that others need, so nothing is left to resolve. It leaves out what Jupyter
# would check addresses in other scripts with (rfc3987-syntax): importing that takes three seconds, in every process.
# The project itself is installed in place, without the network.
.venv/installed: requirements.txt setup.py settings.ini
	@$(PYTHON_FOUND) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(0 if v == (3, 11) else f"Python 3.11 is needed, found {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON_FOUND) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check --no-deps -r requirements.txt
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/installed ## create .venv with everything

reproduce: .venv/installed ## the whole embedded study: samples, scores, figures, report; compared with figures/
	@$(OFFLINE) .venv/bin/ambiscale run conf/smoke.yaml

test: .venv/installed ## every notebook and every test
	@$(OFFLINE) $(PY) -m pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests

test-faults: .venv/installed ## two hundred kills of racing writers, and a table of what was lost
	@$(OFFLINE) $(PY) tests/kills.py --kills 200

$(FIGS): .venv/installed
	@$(OFFLINE) .venv/bin/ambiscale figure $(subst fig,,$@)

figures: $(sort $(FIGS)) ## all figures from stored scores, into figures/; one of them: make fig1 ... fig11
	@$(OFFLINE) .venv/bin/ambiscale figure claims

claims: .venv/installed ## what the study says of the claims that were stated beforehand
	@$(OFFLINE) .venv/bin/ambiscale claims

lab: .venv/installed ## open the notebooks, also as root (in a container)
	.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) nbs

export: .venv/installed ## notebooks to package
	PATH="$(CURDIR)/.venv/bin:$$PATH" nbdev_export

clean-notebooks: .venv/installed ## strip what must not be committed
	.venv/bin/nbdev_clean

check: .venv/installed ## notebooks clean, exported, in step; re-executed without a change of a text output
	@$(OFFLINE) $(PY) -m pytest -q tests/test_style.py
	$(PY) scripts/readme.py --check && $(PY) scripts/check.py

docs: .venv/installed ## the notebooks as a site that opens offline: _docs/index.html
	$(PY) scripts/docs.py

readme: .venv/installed ## README.md from nbs/index.ipynb
	$(PY) scripts/readme.py

hooks: .venv/installed ## offered, not forced: merge and clean notebooks in git
	.venv/bin/nbdev_install_hooks
