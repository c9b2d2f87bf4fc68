"""The base model that ships with the package: "reader", which turns the spelling of a word into its sounds.

`reader.safetensors` holds its weights in float32, `reader.json` says what they are and how they were made: the
configuration, the tokenizer, the command, the seed, the data's version and the scores read from this very file.
`minigrad pretrain` makes both again.

    model, tokenizer = mg.pretrained.load()
"""
from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from minigrad.models import GPT, GPTConfig
from minigrad.pretrained.files import read_json, read_tensors, write_atomically, write_json, write_tensors
from minigrad.tasks import Tokenizer

__all__ = ["load", "manifest", "names", "read_json", "read_tensors", "save", "write_atomically", "write_json",
           "write_tensors"]

HOME = Path(__file__).parent


def names() -> list[str]:
    """The models that ship with this installation."""
    return sorted(path.stem for path in HOME.glob("*.safetensors"))


def load(name="reader") -> tuple[GPT, Tokenizer]:
    """The model and its tokenizer: a shipped one by its name, or one's own by the path of its .safetensors file.

    Every call gives a new model, on the current backend, in evaluation mode. Raises ValueError for an unknown name and
    for a file that is corrupt, or that is not the one its manifest describes; FileNotFoundError for a missing file.
    """
    path = _find(name)
    described = manifest(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != described["sha256"]:
        raise ValueError(f"{path} is not the file that {path.with_suffix('.json').name} beside it describes: one of the "
                         "two is damaged or was replaced alone. Reinstall the package, or make both with `minigrad pretrain`")
    state, _ = read_tensors(path)
    model = GPT(GPTConfig.from_dict(described["config"]))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None
    return model.eval(), Tokenizer.from_dict(described["tokenizer"])


def manifest(name="reader") -> dict:
    """What is known of a model: config, tokenizer, sha256 of its weights, and how it was made and how good it is."""
    path = _find(name).with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}. Beside the weights there must be a manifest, which says what "
                                "they are; `minigrad pretrain` writes both")
    described = read_json(path)
    missing = [key for key in ("config", "tokenizer", "sha256") if key not in described]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it is not a model's manifest")
    return described


def save(model: GPT, tokenizer: Tokenizer, path, **notes) -> Path:
    """Write a model's weights (float32 safetensors) and, beside them, its manifest with `notes`; returns the path.

    >>> import tempfile
    >>> import minigrad as mg
    >>> tokenizer = Tokenizer()
    >>> gpt = GPT(GPTConfig(tokenizer.vocab_size, context=8, d_model=8, n_layers=1, n_heads=1))
    >>> path = save(gpt, tokenizer, Path(tempfile.mkdtemp()) / "tiny.safetensors", seed=0)
    >>> load(path)[0].config.d_model, manifest(path)["seed"]
    (8, 0)
    """
    path = write_tensors(path, {name: array.astype("float32") for name, array in model.state_dict().items()})
    write_json(path.with_suffix(".json"), {
        "config": model.config.to_dict(), "parameters": model.num_parameters(), "tokenizer": tokenizer.to_dict(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **notes})
    return path


def _find(name) -> Path:
    path = Path(name)
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}. A base model is a .safetensors file that `minigrad pretrain` "
                                    f"wrote, or one that ships: {', '.join(names()) or '(none)'}")
        return path
    shipped = HOME / f"{name}.safetensors"
    if not shipped.is_file():
        close = difflib.get_close_matches(str(name), names(), 1)
        raise ValueError(f"unknown base model {name!r}: shipped are {', '.join(names()) or '(none)'}"
                         + (f"; did you mean {close[0]!r}?" if close else "")
                         + ". One's own is given by the path of its .safetensors file")
    return shipped
