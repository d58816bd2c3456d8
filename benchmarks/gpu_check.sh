#!/usr/bin/env bash
# Builds and checks the CUDA kernels on a machine with a GPU and no network.
# Needs torch, nvcc, cmake, ninja, pybind11, setuptools, pytest and hypothesis for $PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
OPHCLIP_CUDA=ON "$PYTHON" setup.py --quiet build_ext --inplace
export OPHCLIP_REQUIRE_NATIVE=1 OPHCLIP_REQUIRE_GPU=1 PYTHONPATH=$PWD
"$PYTHON" -m pytest -m gpu tests/ops tests/cuda
if command -v compute-sanitizer >/dev/null; then
  compute-sanitizer --error-exitcode 1 "$PYTHON" -m pytest -q -m gpu -k "small" tests/cuda
fi
