# The verbs of this repository; `make help` prints them.
.DEFAULT_GOAL := help
PY := .venv/bin/python
STORAGE ?= folder
SEED ?= 1
MODEL ?= bundled://small
# One thread per process: on shared cores two threads in one process are several times slower than one.
export OMP_NUM_THREADS := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup protos protos-bundle callers lint check test search agree-lm-eval demo reproduce check-statistics pretrain pretrain-smoke golden up clean prove check-estimate check-training-estimate measure-worlds measure-gates dose-response bench-inference bench-training bench-augmentation k8s-schemas k8s-check k8s-golden k8s-alerts k8s-smoke measure-metrics oidc-trial hosts scale real-documents

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.venv/.stamp: pyproject.toml sdk/pyproject.toml constraints.txt tools/install.sh
	tools/install.sh
	touch $@

setup: .venv/.stamp ## the virtual environment with all that is needed

demo: setup ## the whole road on this machine: worlds, study, report, questions (STORAGE=s3 for S3 and two workers)
	$(PY) -m tools.demo --storage $(STORAGE) --seed $(SEED)

check: setup lint ## lint and the quick tests, under five minutes
	$(PY) -m pytest -n 2 -m "not ray and not slow"

test: setup lint build/lm-eval/bin/lm_eval ## every test, forty to fifty minutes
	$(PY) -m pytest

search: setup ## new examples for the tests of properties, thirty times as many as in `make test` (a quarter of an hour)
	$(PY) -m pytest -p tests.searching --hypothesis-profile=search $$(grep -rlE "^@given" tests/unit)

lint: setup ## ruff, import contracts, buf
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports && $(PY) tools/protos.py --lint

protos: setup ## generate the stubs from protos/
	$(PY) tools/protos.py

protos-bundle: setup ## dist/ingrain-protos.tar.gz for callers in other languages
	$(PY) tools/protos_bundle.py

build/callers/node_modules: examples/typescript/package-lock.json
	mkdir -p build/callers && cp examples/typescript/package.json examples/typescript/package-lock.json build/callers/
	npm ci --silent --prefix build/callers && touch $@

callers: build/callers/node_modules ## npm's packages, for the test of the example in TypeScript

# An environment of its own over .venv's torch and transformers: nothing of it is ever a dependency of ours.
build/lm-eval/bin/lm_eval: | setup
	$(PY) -m venv build/lm-eval
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > build/lm-eval/.site
	cp build/lm-eval/.site "$$(build/lm-eval/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	build/lm-eval/bin/python -m pip install -q -c constraints.txt lm_eval==0.4.13

agree-lm-eval: build/lm-eval/bin/lm_eval ## the same task and model by lm-evaluation-harness (installs it into build/)
	$(PY) -m pytest tests/integration/evaluator/test_agreement.py tests/integration/gateway/http/test_lm_eval.py -s

# Which parts: short, warm, scoring, long, hop, throughput, bulk; all of them take an hour and a half.
bench-inference: setup build/lm-eval/bin/lm_eval ## the engine and the platform beside what else there is, into benchmarks/RESULTS.md (PARTS=warm,hop)
	$(PY) -m benchmarks.inference $(if $(PARTS),--parts $(PARTS)) $(ARGS)

build/trl/bin/trl: | setup
	$(PY) -m venv build/trl
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > build/trl/.site
	cp build/trl/.site "$$(build/trl/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	build/trl/bin/python -m pip install -q -c constraints.txt trl==1.16.0

# Which parts: full-30m, full-30m-equal, lora-30m, full-135m, full-135m-equal, lora-135m, ray; all of them take three quarters of an hour.
bench-training: setup build/trl/bin/trl ## the trainer beside TRL and in Ray beside itself, into benchmarks/TRAINING.md (PARTS=full-30m,ray)
	$(PY) -m benchmarks.training $(if $(PARTS),--parts $(PARTS)) $(ARGS)

build/datasketch/.made: | setup
	$(PY) -m venv build/datasketch
	build/datasketch/bin/python -m pip install -q -c constraints.txt datasketch==2.0.0
	touch $@

# Which parts: rate, local, global, near; all of them take a quarter of an hour.
bench-augmentation: setup build/datasketch/.made ## a derivation beside the engine, plain loops and datasketch, into benchmarks/AUGMENTATION.md (PARTS=rate,near)
	$(PY) -m benchmarks.augmentation $(if $(PARTS),--parts $(PARTS)) $(ARGS)

golden: setup ## rewrite the golden files; review the diff
	INGRAIN_REWRITE_GOLDEN=1 $(PY) -m pytest tests -k golden

up: setup ## the platform in the foreground; Ctrl-C stops it
	$(PY) -m services

reproduce: setup ## three seeds of the demo's study, pooled table into docs/reproduction.md (some twenty-five minutes)
	$(PY) -m tools.reproduce

check-statistics: setup ## simulated studies with known truth: how often verdicts are right (docs/statistics.md, some five minutes)
	$(PY) -m tools.check_statistics

check-estimate: setup ## an estimate, the study itself, and how far they are apart (docs/estimates.md, some five minutes)
	$(PY) -m tools.estimate_check $(ARGS)

check-training-estimate: setup ## what is foreseen of trainings, and what they then take (docs/training-estimates.md, some ten minutes)
	$(PY) -m tools.training_estimate_check $(ARGS)

real-documents: setup ## documentation of the installed packages through import, splitting and what needs no model, into docs/real-documents.md (three minutes)
	$(PY) -m tools.real_documents $(ARGS)

measure-worlds: setup ## the paper's other worlds at a size that the bundled model reads, into docs/worlds.md (ARGS="--seeds 1 2 3"; a seed is five to fifteen minutes)
	$(PY) -m tools.worlds_measure $(ARGS)

measure-gates: setup ## what gates of augmentation drop rightly and wrongly, by the truth of worlds (docs/gates.json and .md, some five minutes)
	$(PY) -m tools.gates_measure $(ARGS)

dose-response: setup ## 1, 4 and 16 samples of each prompt at equal training steps, into docs/dose.md (some twenty-five minutes)
	$(PY) -m tools.dose_response $(ARGS)

prove: setup ## one checkpoint, one set of documents: estimate, study, verdict (MODEL=folder or hub id, DOCS=folder, ARGS=--yes)
	$(PY) -m tools.prove --model "$(MODEL)" --docs "$(DOCS)" $(ARGS)

build/k8s/.stamp: | setup
	$(PY) -m venv build/k8s
	build/k8s/bin/python -m pip install -q kubernetes-validate==1.37.0
	touch $@

k8s-schemas: build/k8s/.stamp ## Kubernetes' schemas, in an environment of their own in build/

k8s-check: build/k8s/.stamp ## manifests by schemas, own rules and planted faults (CRDS=folder of KubeRay's definitions)
	$(PY) -m tools.k8s_check $(if $(CRDS),--crds "$(CRDS)") $(ARGS)

k8s-golden: setup ## the golden renderings anew, by kubectl; review the diff
	$(PY) -m tools.k8s_check --golden $(if $(CRDS),--crds "$(CRDS)")

measure-metrics: setup ## what counting costs a call, side by side (a minute; docs/operations.md)
	$(PY) -m tools.metrics_measure $(ARGS)

# Debian's package, unpacked and not installed.
build/prometheus/usr/bin/promtool:
	mkdir -p build/prometheus
	cd build/prometheus && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .

k8s-alerts: build/prometheus/usr/bin/promtool | setup ## alerts read and tried by promtool
	$(PY) -m tools.k8s_alerts $<

build/oidc/node_modules: tools/oidc_trial/package-lock.json
	mkdir -p build/oidc && cp tools/oidc_trial/package.json tools/oidc_trial/package-lock.json build/oidc/
	npm ci --silent --prefix build/oidc && touch $@

oidc-trial: build/oidc/node_modules | setup ## the gateway and a certified OpenID provider from npm, both on this machine (a minute)
	$(PY) -m tools.oidc_trial build/oidc

k8s-smoke: setup ## a trial on a cluster: install, study, ask, uninstall, result file (KUBECONFIG=file OVERLAY=laptop IMAGES=registry/)
	$(PY) -m tools.k8s_smoke --kubeconfig "$(KUBECONFIG)" --overlay $(or $(OVERLAY),laptop) $(if $(IMAGES),--images "$(IMAGES)") $(ARGS)

hosts: setup ## the platform on eight hosts (namespaces, root only), a study, links that are cut, into docs/hosts.md (some twenty minutes)
	$(PY) -m tools.hosts $(ARGS)

build/scale/.stamp: | setup
	$(PY) -m venv build/scale
	build/scale/bin/python -m pip install -q simpy==4.1.2
	touch $@

scale: build/scale/.stamp ## 100,000 studies a day on 1,000 GPUs, simulated, into docs/scale.md (minutes)
	build/scale/bin/python -m tools.scale.simulation > build/scale/found.json
	$(PY) -m tools.scale.page build/scale/found.json

pretrain: setup ## pretrain the bundled model from scratch (hours, resumable)
	$(PY) models/pretrain.py

pretrain-smoke: setup ## three minutes of it
	$(PY) models/pretrain.py --smoke

clean: ## forget the demo's platform and reports
	rm -rf out build dist
