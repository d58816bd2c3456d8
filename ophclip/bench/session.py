# SPDX-License-Identifier: Apache-2.0
"""One run of the benchmarks: its device, its fixed threads, its clock, what the machine can do at best."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.ops import native_status

Made = TypeVar("Made")

TOO_LONG_S = 1.0  # a matrix product that is not worth repeating
EMULATION_SIZE, EMULATED = 256, 4.0  # of a product, and how much slower it is than float32 where emulated
FLUSH_BYTES = 256 << 20  # more than any device cache holds


def available_threads() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Session:
    """Shares big arrays between cases and measures the machine's ceilings when first asked."""

    def __init__(
        self, *, device: str = "cpu", threads: int = 0, is_smoke: bool = False, seconds: float | None = None
    ) -> None:
        self.device = torch.device(device)
        self.threads = threads or available_threads()
        self.is_smoke = is_smoke
        default_s = 1.5 if self.device.type == "cuda" else 4.0
        self.seconds = default_s if seconds is None else seconds  # of rounds a case, beside its warm-up
        self.notes: list[str] = []  # what a reader of the figures must know of this machine
        self._shared: dict[Hashable, Any] = {}
        self._ceilings: dict[str, float] = {}
        torch.set_num_threads(self.threads)

    def shared(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` made when `key` was first asked for."""
        if key not in self._shared:
            self._shared[key] = make()
        made: Made = self._shared[key]
        return made

    def ceilings(self) -> dict[str, float]:
        """The best that was measured of the machine so far: "fp32 TFLOP/s", "bf16 TFLOP/s" and "GB/s"."""
        return dict(self._ceilings)

    def tidy(self) -> None:
        """Give what finished cases held back to the device, for peers that do not allocate through torch."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def unit_rows(self, num_rows: int, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Random rows of length 1, `[N, D]` on the device."""
        generator = torch.Generator(self.device).manual_seed(seed)
        rows = torch.empty(num_rows, dim, dtype=dtype, device=self.device)
        for part in torch.split(rows, 1 << 20):  # the float32 draw of ten million rows at once would not fit
            drawn = torch.randn(part.shape, generator=generator, device=self.device)
            part.copy_(F.normalize(drawn, dim=1))
        return rows

    def time_s(self, run: Callable[[], object]) -> float:
        """Seconds that one call takes; on a GPU from cold caches, and without the launch."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            run()
            return time.perf_counter() - start
        flush: Tensor = self.shared(
            "flush", lambda: torch.empty(FLUSH_BYTES, dtype=torch.int8, device=self.device)
        )
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        flush.zero_()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def rate(self, kind: str) -> float:
        """Flop a second, now, of torch's own matrix product in "fp32" or "bf16", or what "int8" can reach.

        Where torch emulates bfloat16, that of "bf16" is the one of "fp32", which computes it faster.
        """
        if kind == "int8":
            return self.int8_over_fp32() * self.rate("fp32")
        if kind == "bf16" and self.emulates_bf16():
            return self.rate("fp32")
        size = 256 if self.is_smoke else 8192 if self.device.type == "cuda" else 2048
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        pair = self.shared(
            ("factors", size, dtype),
            lambda: [torch.randn(size, size, device=self.device).to(dtype) for _ in range(2)],
        )
        rate = 2 * size**3 / self._least_s(lambda: torch.mm(*pair))
        self._note(f"{kind} TFLOP/s", rate / 1e12)
        return rate

    def int8_over_fp32(self) -> float:
        """Multiply-adds of bytes in one instruction of this CPU, by those of float32."""
        return self.shared("int8 over fp32", self._find_byte_products)

    def _find_byte_products(self) -> float:
        if native_status().isa == "avx512" and torch.cpu._is_vnni_supported():
            return 4.0
        self.notes.append(
            "No byte products (VNNI) here: bytes are multiplied as int16, so int8 is 2 times fp32."
        )
        return 2.0

    def emulates_bf16(self) -> bool:
        """Whether torch's product of bfloat16 is far behind that of float32, as on a CPU without AVX-512."""
        return self.shared("emulates bf16", self._find_emulation)

    def _find_emulation(self) -> bool:
        factors = torch.randn(2, EMULATION_SIZE, EMULATION_SIZE, device=self.device)
        exact, short = (self._least_s(partial(torch.mm, *pair)) for pair in (factors, factors.bfloat16()))
        if short < EMULATED * exact:
            return False
        self.notes.append(
            f"torch emulates bfloat16 on this machine ({short / exact:.0f} times slower than float32): "
            "peers of the bf16 cases cast to float32 and back."
        )
        return True

    def bytes_per_s(self) -> float:
        """Bytes a second, now, of a sum that reads a large array, or on a GPU of a copy of one."""
        length = (1 << 20) if self.is_smoke else (1 << 27)
        values = self.shared("values", lambda: torch.ones(length, device=self.device))
        if self.device.type == "cuda":
            target = self.shared("target", lambda: torch.empty_like(values))
            rate = 2 * values.nbytes / self._least_s(lambda: target.copy_(values))
        else:
            rate = values.nbytes / self._least_s(values.sum)
        self._note("GB/s", rate / 1e9)
        return rate

    def _note(self, name: str, value: float) -> None:
        self._ceilings[name] = max(value, self._ceilings.get(name, 0.0))

    def _least_s(self, run: Callable[[], object]) -> float:
        first = self.time_s(run)
        if first > TOO_LONG_S:  # a CPU that emulates bfloat16, say
            return first
        return min(self.time_s(run) for _ in range(5))
