"""Tensors in files: safetensors in, safetensors out, and never half a file.

A file is written beside its place under a temporary name and then renamed, which the file system does in one go:
whoever reads, even after a crash, finds the old file or the whole new one.
"""
from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np


def write_atomically(path, data: bytes | str) -> Path:
    """Write `data` to `path` so that no reader ever sees a part of it; folders are made as needed.

    >>> import tempfile
    >>> write_atomically(Path(tempfile.mkdtemp()) / "new" / "a.txt", "whole").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())                 # the bytes must be on the disk before the name is
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def write_json(path, value) -> Path:
    """Write a JSON file atomically."""
    return write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path):
    """Read a JSON file. Raises FileNotFoundError, and ValueError that names the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:                     # json's and UTF-8's own errors are ValueErrors
        raise ValueError(f"{path} is not a readable JSON file: {error}") from None


def write_tensors(path, tensors: dict, metadata: dict | None = None) -> Path:
    """Write {name: NumPy array} as safetensors, atomically; `metadata` may be anything that JSON takes.

    >>> import tempfile
    >>> path = write_tensors(Path(tempfile.mkdtemp()) / "t.safetensors", {"a": np.ones(2)}, {"step": 3})
    >>> read_tensors(path)
    ({'a': array([1., 1.])}, {'step': 3})
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in tensors.items()}
    header = None if metadata is None else {"minigrad": json.dumps(metadata)}     # safetensors stores strings only
    return write_atomically(path, save(arrays, metadata=header))


def read_tensors(path) -> tuple[dict, dict]:
    """({name: array}, metadata) of a safetensors file.

    Raises FileNotFoundError, and ValueError that names the file when it is truncated or corrupt.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            header = (file.metadata() or {}).get("minigrad")
        return tensors, {} if header is None else json.loads(header)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is truncated, corrupt, or no safetensors file ({error}); make it again or restore it "
                         "from a copy") from None
