"""CuPy: the same kernels on an NVIDIA GPU.

CuPy is in one of three states: not installed, installed without a usable GPU, or usable (a small kernel and a small
matrix product really ran). It is imported only when somebody asks, so that importing minigrad costs nothing and never
fails. What is computed is in fused.py and kernels/*.cu; this file is about CuPy itself.
"""
from __future__ import annotations

import contextlib
import importlib.util
import warnings

import numpy as np

from minigrad.backend.batched import batched_matmul
from minigrad.backend.fused import KERNELS, FusedBackend, source


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot be used here; the message says why and what to do."""


def state() -> tuple[str, str]:
    """("not installed" | "no usable GPU" | "usable", the reason in CuPy's own words or "")."""
    if importlib.util.find_spec("cupy") is None:
        return "not installed", ""
    try:
        import cupy

        if (cupy.arange(3) + 1).sum().item() != 6:
            return "no usable GPU", "a test kernel gave a wrong sum"
        ones = cupy.ones((2, 2), dtype="float32")
        if (ones @ ones).sum().item() != 8:
            return "no usable GPU", "a test product gave a wrong sum"
    except Exception as error:                      # a missing driver, toolkit or device raises many kinds
        return "no usable GPU", f"{type(error).__name__}: {error}".splitlines()[0]
    return "usable", ""


def load() -> CupyBackend:
    """The CuPy backend, or BackendUnavailable that says what is missing."""
    found, detail = state()
    if found == "not installed":
        raise BackendUnavailable("backend 'cupy' needs CuPy, which is not installed: "
                                 "pip install 'minigrad-course[cuda12]' or '[cuda13]' on a machine with an NVIDIA GPU, "
                                 "or use backend 'numpy'")
    if found == "no usable GPU":
        raise BackendUnavailable(f"backend 'cupy': CuPy is installed but no GPU is usable ({detail}). "
                                 "Check the driver with nvidia-smi, and that CuPy has its CUDA libraries "
                                 "(pip install 'minigrad-course[cuda12]' or '[cuda13]' brings them); or use backend 'numpy'")
    return CupyBackend()


class CupyBackend(FusedBackend):
    """The fused kernels, compiled by CuPy when the first of them is launched (seconds; then kept on disk)."""

    name = "cupy"

    def __init__(self):
        import cupy

        self.xp = cupy
        self.array_types = (cupy.ndarray,)
        self._kernels: dict = {}
        self._gemm = _find_gemm()

    def send(self, array, dtype=None):
        """A device copy of a host array."""
        return self.xp.array(array, dtype=dtype)

    def to_numpy(self, a):
        """A host copy; waits for the device."""
        return self.xp.asnumpy(a)

    def synchronize(self) -> None:
        """Wait until the device has finished."""
        self.xp.cuda.get_current_stream().synchronize()

    def memory_used(self) -> int:
        """Bytes in use in CuPy's memory pool."""
        return self.xp.get_default_memory_pool().used_bytes()

    def device(self) -> dict:
        """The GPU's name, compute capability, memory, and the CUDA versions."""
        runtime = self.xp.cuda.runtime
        found = runtime.getDeviceProperties(runtime.getDevice())
        return {"device": found["name"].decode(), "compute_capability": f"{found['major']}.{found['minor']}",
                "memory_bytes": found["totalGlobalMem"], "cuda_runtime": runtime.runtimeGetVersion(),
                "cuda_driver": runtime.driverGetVersion(), "cupy": self.xp.__version__}

    @contextlib.contextmanager
    def no_waiting(self):
        """A context in which CuPy raises DeviceSynchronized when the host waits, as far as it notices."""
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # "will be removed": in CuPy 14 it is still the only way
            with cupyx.allow_synchronize(False):
                yield

    def _launch(self, kernel: str, grid: tuple, threads: int, *args) -> None:
        """Run a kernel on `grid` blocks of `threads` threads; returns at once, the device works on."""
        if not self._kernels:
            module = self.xp.RawModule(code=source(), options=("-std=c++17",), name_expressions=KERNELS)
            self._kernels = {name: module.get_function(name) for name in KERNELS}
        # CuPy passes scalars as they are (hence NumPy scalars of the exact type) and a null pointer as the integer 0
        self._kernels[kernel](grid, (threads,), tuple(np.intp(0) if a is None else a for a in args))

    # ---- attention: products without copies -------------------------------------------------------------------------

    def attention(self, q, k, v, visible, additive, scale, drop):
        """o = (P∘drop)·v with P = softmax(scale·q·kᵀ + mask); the scale is the product's own factor"""
        p = self.masked_softmax(self._product(q, k.swapaxes(-1, -2), scale), visible, additive)
        return self._product(p if drop is None else p * drop, v)

    def attention_backward(self, go, q, k, v, visible, additive, scale, drop, needs):
        """gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k,  gk = scale·gsᵀ·q"""
        p = self.masked_softmax(self._product(q, k.swapaxes(-1, -2), scale), visible, additive)
        gq = gk = gv = None
        if needs[2]:
            gv = self._product((p if drop is None else p * drop).swapaxes(-1, -2), go)
        if needs[0] or needs[1]:
            gp = self._product(go, v.swapaxes(-1, -2))
            if drop is not None:
                gp = gp * drop
            gs = self.softmax_backward(gp, p, -1)
            gq = self._product(gs, k, scale) if needs[0] else None
            gk = self._product(gs.swapaxes(-1, -2), q, scale) if needs[1] else None
        return gq, gk, gv

    def _product(self, a, b, scale: float = 1.0):
        """scale·a·b over the last two dims: cuBLAS directly where the arrays allow it, else CuPy's matmul."""
        xp = self.xp
        simple = (a.dtype == b.dtype and a.ndim > 2 and a.shape[:-2] == b.shape[:-2] and a.size and b.size
                  and a.dtype.name in _CUDA_TYPES)
        if not simple or self._gemm is None:
            return (a if scale == 1.0 else a * scale) @ b
        out = xp.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype)
        batched_matmul(a, b, scale, out, self._gemm, xp.ascontiguousarray)
        return out


_CUDA_TYPES = {"float32": 0, "float16": 2}          # CUDA_R_32F, CUDA_R_16F in library_types.h
_COMPUTE_32F, _DEFAULT_ALGORITHM = 68, -1           # CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT in cublas_api.h


def _find_gemm():
    """cublasGemmStridedBatchedEx as `batched_matmul` calls it; None where this CuPy does not have it.

    It is not part of CuPy's public interface, which is why the extras ask for CuPy below 15.
    """
    try:
        from cupy.cuda.device import get_cublas_handle
        from cupy_backends.cuda.libs.cublas import gemmStridedBatchedEx
    except ImportError:
        return None

    def gemm(trans_a, trans_b, m, n, k, scale, a, lda, stride_a, b, ldb, stride_b, out, ldc, stride_c, count):
        kind = _CUDA_TYPES[a.dtype.name]
        factors = np.array([scale, 0.0], np.float32)                    # on the host: out = scale·a·b + 0·out
        gemmStridedBatchedEx(get_cublas_handle(), int(trans_a), int(trans_b), m, n, k,
                             factors.ctypes.data, a.data.ptr, kind, lda, stride_a, b.data.ptr, kind, ldb, stride_b,
                             factors.ctypes.data + 4, out.data.ptr, kind, ldc, stride_c, count, _COMPUTE_32F,
                             _DEFAULT_ALGORITHM)

    return gemm
