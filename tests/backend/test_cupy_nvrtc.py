"""NVIDIA's own compiler accepts the kernels. It needs no GPU, only its library:

    pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12
"""
import ctypes
import importlib.util
from pathlib import Path

import pytest

from minigrad.backend.fused import KERNELS, source


def _folder(package: str, inside: str) -> Path:
    try:
        spec = importlib.util.find_spec(f"nvidia.{package}")
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        pytest.skip(f"no nvidia.{package}: NVIDIA's compiler is not installed (pip install nvidia-cuda-nvrtc-cu12 "
                    "nvidia-cuda-runtime-cu12)")
    return Path(list(spec.submodule_search_locations)[0]) / inside


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_kernels_compile_for(architecture):
    include = _folder("cuda_runtime", "include")
    nvrtc = ctypes.CDLL(str(next(_folder("cuda_nvrtc", "lib").glob("libnvrtc.so*"))))
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source().encode(), b"kernels.cu", 0, None, None) == 0
    for name in KERNELS:
        assert nvrtc.nvrtcAddNameExpression(program, name.encode()) == 0
    options = [b"-std=c++17", f"--gpu-architecture={architecture}".encode(), f"-I{include}".encode()]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed and "warning" not in log.value.decode(), log.value.decode()
    lowered = ctypes.c_char_p()
    for name in KERNELS:
        assert nvrtc.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(lowered)) == 0, name
