# SPDX-License-Identifier: Apache-2.0
"""Drives CMakeLists.txt, the one list of native sources and flags, with Ninja."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Builds `ophclip._native`, and `ophclip._cuda` where nvcc is found (OPHCLIP_CUDA=AUTO|ON|OFF)."""

    def run(self) -> None:
        """Configure, build and copy the libraries to where the package expects them."""
        import pybind11

        target = ROOT / "ophclip" if self.inplace else Path(self.build_lib).resolve() / "ophclip"
        build = Path(self.build_temp).resolve()
        configure = [
            "cmake",
            "-S",
            str(ROOT),
            "-B",
            str(build),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DOPHCLIP_CUDA={os.environ.get('OPHCLIP_CUDA', 'AUTO')}",
            f"-DOPHCLIP_SANITIZE={os.environ.get('OPHCLIP_SANITIZE', 'OFF')}",
        ]
        build.mkdir(parents=True, exist_ok=True)
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)

    def get_outputs(self) -> list[str]:
        """Name nothing: CMake knows the files, and wheels take them from the build folder."""
        return []


# The extension only tells setuptools that wheels depend on the platform; CMake builds it.
setup(ext_modules=[Extension("ophclip._native", sources=[])], cmdclass={"build_ext": CMakeBuild})
