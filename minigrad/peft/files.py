"""Saving and loading adapters in Hugging Face PEFT's format: a folder with two files.

    adapter_config.json         the method in PEFT's words, and a section "minigrad" with our own, the base's
                                configuration and fingerprint, and the other file's checksum
    adapter_model.safetensors   the adapter's tensors, names as PEFT writes them

Files are written under a temporary name and then renamed, so that a reader sees an old file or a new one, never half
of one; the checksum tells when the two do not belong together.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import warnings

from safetensors import SafetensorError
from safetensors import numpy as safetensors

from minigrad.backend import host
from minigrad.nn import Module
from minigrad.peft import huggingface
from minigrad.peft.adapted import AdaptedModel, apply
from minigrad.peft.method import fields, one_of
from minigrad.peft.names import NAMES
from minigrad.peft.registry import create, methods

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = 1                                          # of our own section


def save(adapted: AdaptedModel, directory, names: str | None = None) -> None:
    """Write the active adapter to `directory` (made if it does not exist). The base is not stored, only described.

    names: under whose names the tensors are stored: None is our own; "gpt2" and "llama" are those of Hugging Face's
    models, so that PEFT puts the adapter on one with these weights (names.py). `load` reads all three.
    """
    method = adapted.method.stored()
    if names is not None:
        one_of(names, tuple(NAMES), "save: names")
    folder = pathlib.Path(directory)
    config, state = huggingface.write(adapted, names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"an adapter is saved as a folder, and {folder} or a part of it is a file: give another "
                                 "path") from None
    tensors = serialize(state)
    ours = {"format": FORMAT, "sha256": hashlib.sha256(tensors).hexdigest(),
            "base": {"config": describe_config(adapted.base), "fingerprint": fingerprint(adapted.base),
                     "dtype": dtypes(adapted.base)}}
    if names is None:                               # else the tensors may be fused: PEFT's words are the description
        ours |= {"method": method.name, "hyper": fields(method)}
    config = {**config, "base_model_name_or_path": None, "inference_mode": True, "minigrad": ours}
    _write(folder / TENSORS, tensors)
    _write(folder / CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def serialize(state: dict) -> bytes:
    """The bytes of a safetensors file with these arrays."""
    return safetensors.save({name: host.np.ascontiguousarray(a) for name, a in state.items()}, metadata={"format": "pt"})


def size_on_disk(adapted: AdaptedModel) -> tuple[int, int]:
    """(bytes of the active adapter's tensors as `save` would write them, bytes of the base's)."""
    base = {name: p.numpy() for name, p in adapted.base.named_parameters()}
    return len(serialize(adapted.state())), len(serialize(base))


def load(model: Module, directory, trainable: bool = False, check_base: bool = True,
         name: str = "default") -> AdaptedModel:
    """The adapter in `directory` on top of `model`, which must be the base it was trained on, or an AdaptedModel of
    that base: then it is put beside the adapters there, under `name`, and becomes active.

    trainable: False freezes the adapter (to use it), True leaves it ready for further training. check_base=False skips
    the comparison of the base's weights (not of its sizes). Raises FileNotFoundError, or ValueError that says what does
    not fit: a damaged file, another base, missing, extra or misshaped tensors.

    >>> import tempfile
    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.peft.apply(gpt, mg.peft.LoRA(rank=2)).save(folder)
    ...     mg.peft.load(gpt, folder).method.rank
    2
    """
    folder = pathlib.Path(directory)
    config = _read_config(folder / CONFIG)
    data = _read(folder / TENSORS)
    base = model.base if isinstance(model, AdaptedModel) else model
    ours = config.get("minigrad")
    if "minigrad" not in config:
        warnings.warn("this adapter was not written by minigrad, so nothing says which base model it belongs to; only "
                      "names and shapes are checked", stacklevel=2)
    else:
        _check_section(ours, folder)
        if hashlib.sha256(data).hexdigest() != ours["sha256"]:
            raise ValueError(f"{folder / TENSORS} is damaged or does not belong to the {CONFIG} beside it (its SHA-256 "
                             "differs from the one noted there). Copy both files again, or save the adapter again")
        _check_base(base, ours["base"], folder, check_base)
    try:
        state = safetensors.load(data)
    except SafetensorError as error:
        raise ValueError(f"{folder / TENSORS} is not a safetensors file, or it is cut off: {error}") from None
    if ours is not None and "method" in ours:
        try:
            method = create(ours["method"], **{k: tuple(v) if isinstance(v, list) else v for k, v in ours["hyper"].items()})
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG}: {error}") from None
    else:
        method, state = huggingface.read(config, state, base)
    adapted = apply(base, method, name, rng=host.np.random.default_rng(0))      # drawn values are overwritten below
    try:
        adapted.load_state(state)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if ours is not None and "method" in ours:
        _check_words(config, adapted, folder)
    adapted.set_trainable(trainable)
    if base is model:
        return adapted
    model.take(adapted)
    return model


def fingerprint(model: Module) -> str:
    """SHA-256 over the names, shapes, dtypes and values of a model's parameters: which base an adapter belongs to."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        values = host.np.ascontiguousarray(p.numpy())
        digest.update(f"{name} {values.shape} {values.dtype}\n".encode())
        digest.update(values.data)
    return digest.hexdigest()


def dtypes(model: Module) -> str:
    """The dtypes of a model's parameters, as a word: "float32"."""
    return ", ".join(sorted({str(p.dtype) for p in model.parameters()}))


def describe_config(model: Module) -> dict:
    """The model's configuration as plain values; empty for a model without one."""
    config = getattr(model, "config", None)
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else {}


def _check_base(model: Module, saved: dict, folder, check_weights: bool) -> None:
    given = describe_config(model)
    different = [k for k in {**given, **saved["config"]}
                 if k != "dropout" and saved["config"].get(k) != given.get(k)]
    if different:
        raise ValueError(f"the adapter in {folder} was trained on another base model: "
                         + "; ".join(f"its base has {k}={saved['config'].get(k)!r}, this one {given.get(k)!r}"
                                     for k in different))
    if check_weights and saved.get("dtype", dtypes(model)) != dtypes(model):
        raise ValueError(f"the adapter in {folder} was trained on a base in {saved['dtype']}, and this one is in "
                         f"{dtypes(model)}. Convert it, model.to(dtype={saved['dtype']!r}), or say check_base=False and the "
                         "adapter is converted")
    if check_weights and (now := fingerprint(model)) != saved["fingerprint"]:
        raise ValueError(f"the adapter in {folder} was trained on a base with the same sizes but other weights: "
                         f"fingerprint {saved['fingerprint'][:12]}…, this model has {now[:12]}…. Load the base it was "
                         "trained on, or say check_base=False if you know that the difference does not matter")


def _check_section(ours, folder) -> None:
    version = ours.get("format") if isinstance(ours, dict) else ours
    if not isinstance(ours, dict) or version != FORMAT:
        raise ValueError(f"{folder / CONFIG}: its \"minigrad\" section (format {version!r}) cannot be read by this version, "
                         f"which reads format {FORMAT}")
    kinds = {"sha256": str, "base": dict} | ({"method": str, "hyper": dict} if {"method", "hyper"} & set(ours) else {})
    wrong = [name for name, kind in kinds.items() if not isinstance(ours.get(name), kind)]
    wrong = wrong or [f"base.{name}" for name, kind in (("config", dict), ("fingerprint", str))
                      if not isinstance(ours["base"].get(name), kind)]
    if wrong:
        raise ValueError(f"{folder / CONFIG}: its \"minigrad\" section has been edited: {', '.join(wrong)} is missing or not "
                         "what `save` writes there. Save the adapter again, or remove the section to have PEFT's words read")
    if "method" in ours and ours["method"] not in methods():
        raise ValueError(f"{folder / CONFIG} needs the method {ours['method']!r}; this version has "
                         f"{', '.join(methods())}")


def _check_words(config: dict, adapted: AdaptedModel, folder) -> None:
    """The same file in PEFT's words and in ours: who edits one of them must not be ignored."""
    meant = json.loads(json.dumps(huggingface.write(adapted)[0]))
    if unknown := sorted(set(config) - set(meant) - {"minigrad", "base_model_name_or_path", "inference_mode"}):
        warnings.warn(f"{CONFIG} has options that `save` did not write, which are ignored: {', '.join(unknown)}", stacklevel=3)
    if different := [k for k in meant if k in config and config[k] != meant[k]]:
        raise ValueError(f"{folder / CONFIG} contradicts itself: "
                         + "; ".join(f"{k} is {config[k]!r}, and by its \"minigrad\" section {meant[k]!r}" for k in different)
                         + ". Edit both, or remove the section to have PEFT's words read")


def _read_config(path: pathlib.Path) -> dict:
    try:
        config = json.loads(_read(path))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}): the file is damaged") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object; it holds a {type(config).__name__}")
    return config


def _read(path: pathlib.Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: an adapter is a folder with {CONFIG} and {TENSORS}")
    return path.read_bytes()


def _write(path: pathlib.Path, data: bytes) -> None:
    """Write under another name, then rename: readers never see half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
