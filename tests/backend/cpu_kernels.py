"""The GPU's kernels on the CPU: the same source, compiled by g++ through shim/cuda_fp16.h, as a backend of the tests.

The backend is CupyBackend's own Python half (FusedBackend) on the strict arrays, so what passes here has also made no
use of anything that a GPU would refuse. Every launch is checked as CuPy does not: number and types of the arguments,
contiguity, a legal grid.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from minigrad.backend.fused import KERNELS, FusedBackend, source
from tests.strict.array import StrictArray
from tests.strict.backend import StrictBackend

COMPILER = os.environ.get("CXX") or shutil.which("g++")
NO_COMPILER = "no C++ compiler (g++): the GPU's kernels cannot be compiled for the CPU"
SHIM = Path(__file__).with_name("shim")
LETTERS = {"float32": "f", "float16": "h", "int32": "i", "int64": "l", "bool": "b", "uint8": "u"}


def compile_kernels(code: str | None = None, names=KERNELS) -> ctypes.CDLL:
    """A library with the kernels of `code` (default: minigrad's), kept in the temporary folder between runs."""
    table = ", ".join(f'{{"{name}", entry({name})}}' for name in names)
    code = f"{source() if code is None else code}\nstatic std::map<std::string, Entry>& table() {{\n" \
           f"    static std::map<std::string, Entry> kernels = {{{table}}};\n    return kernels;\n}}\n"
    key = hashlib.sha256((code + (SHIM / "cuda_fp16.h").read_text() + COMPILER).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"minigrad-kernels-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        made = folder / f"{key}.{os.getpid()}.so"
        command = [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", "-Wall", "-Wno-psabi", "-Wno-unused", f"-I{SHIM}",
                   "-x", "c++", "-", "-o", str(made)]
        done = subprocess.run(command, input=code, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the kernels do not compile:\n{done.stderr}")
        os.replace(made, library)                   # whoever else compiles at the same time gets the same file
    loaded = ctypes.CDLL(str(library))
    loaded.types_of.restype = ctypes.c_char_p
    return loaded


class CpuKernels:
    """Launches compiled kernels on strict arrays.

    threads: None for what the caller asks · back_and_forth: see the shim · counts: launches by kernel.
    """

    def __init__(self, library: ctypes.CDLL, threads: int | None = 1, back_and_forth: bool = False):
        self.library, self.threads, self.back_and_forth, self.counts = library, threads, back_and_forth, {}

    def __call__(self, kernel: str, grid: tuple, threads: int, *args) -> None:
        types = self.library.types_of(kernel.encode())
        assert types is not None, f"no kernel is called {kernel}"
        types = types.decode().split()
        assert len(args) == len(types), f"{kernel} takes {len(types)} arguments ({types}); got {len(args)}"
        assert threads & (threads - 1) == 0 and 1 <= threads <= 1024, f"{kernel}: {threads} threads in a block"
        assert 0 < grid[0] < 2 ** 31 and all(0 < g < 65_536 for g in grid[1:]), f"{kernel}: grid {grid}"
        kept = [_packed(kernel, i, a, t) for i, (a, t) in enumerate(zip(args, types, strict=True))]
        pointers = (ctypes.c_void_p * len(kept))(*[a.ctypes.data for a in kept])
        self.counts[kernel] = self.counts.get(kernel, 0) + 1
        n = threads if self.threads is None else min(threads, self.threads)
        failed = self.library.launch(kernel.encode(), grid[0], grid[1] if len(grid) > 1 else 1, n,
                                     int(self.back_and_forth), pointers)
        assert not failed, f"{kernel}: a barrier that not all threads of a block reach"


def _packed(kernel: str, i: int, arg, wanted: str) -> np.ndarray:
    """A host array that holds the argument's value or address; its type is checked to be the kernel's."""
    if wanted[0] not in "*&":
        assert isinstance(arg, np.generic), f"{kernel}, argument {i}: a {type(arg).__name__}, which CuPy would widen"
        assert LETTERS[arg.dtype.name] == wanted, f"{kernel}, argument {i}: {arg.dtype}, the kernel has {wanted!r}"
        return np.array(arg)
    if arg is None:
        return np.zeros((), np.uintp)
    assert isinstance(arg, StrictArray), f"{kernel}, argument {i}: a {type(arg).__name__}, not a device array"
    a = arg._a
    assert LETTERS.get(a.dtype.name) == wanted[1:], f"{kernel}, argument {i}: {a.dtype}, the kernel has {wanted!r}"
    assert a.flags.c_contiguous, f"{kernel}, argument {i}: strides {a.strides}, which a kernel does not see"
    assert wanted[0] == "&" or a.flags.writeable, f"{kernel}, argument {i} is written, but read-only"
    return np.array(a.ctypes.data, np.uintp)


class CpuKernelBackend(FusedBackend):
    """FusedBackend on strict arrays, its kernels run by the CPU."""

    name = "strict"                                 # it takes strict's place while it is registered
    xp = StrictBackend.xp
    array_types = (StrictArray,)
    send, to_numpy, synchronize = StrictBackend.send, StrictBackend.to_numpy, StrictBackend.synchronize
    buffer, set_writeable, quiet = StrictBackend.buffer, StrictBackend.set_writeable, StrictBackend.quiet
    no_waiting = StrictBackend.no_waiting

    def __init__(self, launch: CpuKernels):
        self._launch = launch


def host(a):
    """The NumPy array behind a strict one."""
    return None if a is None else a._a


def device(a) -> StrictArray | None:
    """A strict array around a NumPy one, strides and all."""
    return None if a is None else StrictArray(a)
