#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds, checks and times the CUDA kernels on a machine with a GPU and no network, within ten minutes. Needs
# torch, nvcc, cmake, ninja, pybind11 and setuptools for $PYTHON; what else is missing lies as wheels in wheels/.
# The last thing printed is the table; benchmarks/records/<date>-<gpu>.json keeps every figure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PYTHON=${PYTHON:-python3}
DEADLINE=${OPHCLIP_GPU_CHECK_S:-580}
LOGS=$(mktemp -d)
export LOGS STAGES=$LOGS/stages.tsv
. benchmarks/stages.sh
trap 'rm -rf "$LOGS"' EXIT

if ! nvidia-smi >"$LOGS/nvidia-smi" 2>&1; then
  echo "error: no GPU was found: nvidia-smi says: $(tail -n 1 "$LOGS/nvidia-smi")" >&2
  echo "run this on a machine with an NVIDIA GPU and its driver" >&2
  exit 1
fi

versions() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader &&
    nvcc --version | tail -n 2 &&
    "$PYTHON" -c 'import sys, torch; print(sys.version); print("torch", torch.__version__, torch.cuda.get_device_name())'
}

install_wheels() {
  "$PYTHON" -m pip install --quiet --no-index --no-deps --find-links wheels --target "$LOGS/site" wheels/*.whl
}

gpu_tests() { # FOLDER...
  local options=()
  "$PYTHON" -c 'import pytest_benchmark' 2>/dev/null || options=(-o "addopts=-ra --strict-markers")
  "$PYTHON" -m pytest "${options[@]}" -m gpu "$@"
}

# The operators once more on the path that a device of capability 9.0 has beside the portable one.
hopper_tests() {
  "$PYTHON" -c 'import sys, torch; sys.exit(torch.cuda.get_device_capability() != (9, 0))' || return 77
  OPHCLIP_CUDA_PATH=hopper gpu_tests tests/ops
}

# A path of the kernels that this GPU or this build does not have is no failure. Out of time, what was
# measured is written still: the trap lets this shell wait for it.
bench_path() { # PATH
  local code=0
  trap : TERM
  OPHCLIP_CUDA_PATH=$1 "$PYTHON" -m ophclip.cli.main bench --device cuda --large --json \
    >"$LOGS/$1.json" 2>"$LOGS/$1.err" || code=$?
  tail -n 5 "$LOGS/$1.err"
  if ((code)) && grep -q '"error": ".*OPHCLIP_CUDA_PATH' "$LOGS/$1.json"; then return 77; fi
  return "$code"
}

sanitize() { # TOOL
  command -v compute-sanitizer >/dev/null || return 77
  compute-sanitizer --tool "$1" --error-exitcode 1 "$PYTHON" benchmarks/gpu_small.py
}

# Frames by NVDEC into an encoder: not where DALI is neither installed nor in wheels/.
cache() {
  "$PYTHON" benchmarks/gpu_cache.py --seconds 70 >"$LOGS/cache.figures"
}
export -f versions install_wheels gpu_tests hopper_tests bench_path sanitize cache

stage versions 30 bash -c versions
if compgen -G 'wheels/*.whl' >/dev/null; then stage wheels 60 bash -c install_wheels; fi
export PYTHONPATH=$PWD:$LOGS/site
stage build 170 env OPHCLIP_CUDA=ON "$PYTHON" setup.py --quiet build_ext --inplace
export OPHCLIP_REQUIRE_NATIVE=1 OPHCLIP_REQUIRE_GPU=1
stage tests 120 bash -c 'gpu_tests tests/ops tests/cuda'
stage "tests hopper" 40 bash -c hopper_tests
stage memcheck 60 bash -c 'sanitize memcheck'
stage "bench hopper" 130 bash -c 'bench_path hopper'
stage "bench portable" 130 bash -c 'bench_path portable'
stage cache 110 bash -c cache
if ((DEADLINE - SECONDS > 20)); then stage racecheck 60 bash -c 'sanitize racecheck'; fi

"$PYTHON" benchmarks/gpu_record.py --stages "$STAGES" --to benchmarks/records --seconds "$SECONDS" --cache "$LOGS/cache.figures" "$LOGS"/*.json || FAILED=1
exit "$FAILED"
