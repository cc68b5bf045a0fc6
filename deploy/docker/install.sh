#!/bin/sh
# What one image holds, into $PREFIX (a virtual environment): the repository's own packages and what they need, at the locked versions.
# The Dockerfile runs this, and so does the test of the same commands in a clean tree: tests/unit/k8s/test_images.py.
#   SERVICE  gateway, augmenter, trainer, inference, evaluator, studies; ray: nodes of Ray, for engines and training; ray-vllm: for engines
#            with vLLM; cli: callers' jobs
#   EXTRA    more requirements
set -eu
cd "$(dirname "$0")/../.."
: "${SERVICE:?}" "${PREFIX:=/opt/ingrain}" "${PYTHON:=python3}"
LOCKED=constraints.txt
"$PYTHON" -m venv "$PREFIX"
pip() { "$PREFIX/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --constraint "$LOCKED" "$@"; }
case "$SERVICE" in
  cli) pip ./sdk ;;
  ray) pip torch && pip ./sdk ".[trainer,inference]" ;;
  ray-vllm)
    pip torch && pip ./sdk ".[inference]"
    # vLLM wants older ones of these three than are locked; llguidance is the transformers engine's, which does not run from this image.
    LOCKED=$PREFIX/constraints.txt
    grep -vE '^(fastapi|llguidance|numpy)==' constraints.txt >"$LOCKED"
    pip "ray[llm]==$(sed -n 's/^ray==//p' constraints.txt)"
    ;;
  # torch goes in first: asked for by another package, pip would take a build with CUDA whatever the index is for.
  trainer | inference) pip torch && pip ./sdk ".[$SERVICE]" ;;
  gateway | augmenter | evaluator | studies) pip ./sdk ".[$SERVICE]" ;;
  *) echo "SERVICE=$SERVICE is none of this platform" >&2 && exit 2 ;;
esac
if [ -n "${EXTRA:-}" ]; then
  # shellcheck disable=SC2086
  "$PREFIX/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir $EXTRA
fi
# Checkpoints that the trainer imports as bundled://<name>.
case "$SERVICE" in
  trainer | ray) mkdir -p "$PREFIX/models" && cp -r models/small "$PREFIX/models/small" ;;
esac
