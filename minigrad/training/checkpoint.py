"""Checkpoints: everything a training run needs to go on, in one file, as if it had never stopped.

One safetensors file holds the weights ("model.…") and the optimizer's moments ("optimizer.…") as tensors, and in its
header, as JSON, the rest: step counts, learning-rate schedule, the state of the random numbers, the place in the data.
One file, because two could be cut off in between.
"""
from __future__ import annotations

from minigrad.pretrained import read_tensors, write_tensors

KIND = "minigrad.checkpoint"


def save_checkpoint(path, model, trainer=None, batches=None, **notes):
    """Write a checkpoint atomically: the model, and if given the Trainer's state and the batches' place; returns the path.

    notes: anything else worth keeping that JSON takes; load_checkpoint gives it back.

    >>> import tempfile
    >>> import minigrad as mg
    >>> layer = mg.nn.Linear(2, 2)
    >>> path = save_checkpoint(tempfile.mkdtemp() + "/c.safetensors", layer, epoch=3)
    >>> load_checkpoint(path, mg.nn.Linear(2, 2))
    {'epoch': 3}
    """
    tensors = {f"model.{name}": array for name, array in model.state_dict().items()}
    header: dict = {"kind": KIND, "notes": notes}
    if trainer is not None:
        state = trainer.state_dict()
        optimizer = state.pop("optimizer")
        steps = {}
        for name, entry in optimizer["state"].items():
            steps[name] = entry["step"]
            tensors.update({f"optimizer.{name}.{key}": array for key, array in entry.items() if key != "step"})
        header["trainer"] = {**state, "optimizer": {"steps": steps, "param_groups": optimizer["param_groups"]}}
    if batches is not None:
        header["batches"] = batches.state_dict()
    return write_tensors(path, tensors, header)


def load_checkpoint(path, model, trainer=None, batches=None) -> dict:
    """Put a checkpoint into the model, and if given into the Trainer and the batches; returns its notes.

    Raises FileNotFoundError, and ValueError when the file is truncated, is no checkpoint, or holds another model's or
    another run's state; the message lists every name or shape that does not fit.
    """
    tensors, header = read_tensors(path)
    if header.get("kind") != KIND:
        raise ValueError(f"{path} is a safetensors file, but not a checkpoint of minigrad")
    for part, wanted in (("trainer", trainer), ("batches", batches)):
        if wanted is not None and part not in header:
            raise ValueError(f"{path} holds no state of the {part}: training cannot go on from it, only start from its weights")
    try:
        model.load_state_dict({name.removeprefix("model."): array for name, array in tensors.items()
                               if name.startswith("model.")})
        if batches is not None:
            batches.load_state_dict(header["batches"])
        if trainer is not None:
            trainer.load_state_dict(_trainer_state(header["trainer"], tensors))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return header["notes"]


def _trainer_state(saved: dict, tensors: dict) -> dict:
    """The trainer's state_dict, its tensors put back where the header only names their parameters."""
    state = {name: {"step": step} for name, step in saved["optimizer"]["steps"].items()}
    for name, array in tensors.items():
        if name.startswith("optimizer."):
            parameter, _, key = name.removeprefix("optimizer.").rpartition(".")
            state.setdefault(parameter, {"step": 0})[key] = array
    return {**saved, "optimizer": {"state": state, "param_groups": saved["optimizer"]["param_groups"]}}
