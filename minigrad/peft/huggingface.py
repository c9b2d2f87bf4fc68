"""adapter_config.json in the words of Hugging Face PEFT, for the methods that PEFT has; both directions.

The tensors' names need no table: they are PEFT's prefix and our module paths (method.py), and the three methods below
call their parameters what PEFT calls them.
"""
from __future__ import annotations

import fnmatch
import re

from minigrad.peft.lora import LoRA
from minigrad.peft.method import Method
from minigrad.peft.prefix import PrefixTuning
from minigrad.peft.prompt import PromptTuning
from minigrad.peft.ptuning import PTuning

MISSING = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "fan_in_fan_out",
           "lora_bias")                             # options of PEFT's LoRA that change the result and that we lack


def to_config(method: Method) -> dict:
    """PEFT's description of a method; of one that PEFT does not have, only a name.

    >>> to_config(LoRA(rank=4, alpha=8))["lora_alpha"]
    8
    """
    if isinstance(method, LoRA):
        return _lora_to(method)
    if type(method) is PrefixTuning:                # PEFT has no infix
        return {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": method.length,
                "prefix_projection": False}
    if isinstance(method, PromptTuning):
        return {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": method.length,
                "prompt_tuning_init": "RANDOM"}
    if isinstance(method, PTuning) and set(method.template) == {"p"}:       # PEFT has no slots among real tokens
        return {"peft_type": "P_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": len(method.template),
                "encoder_reparameterization_type": "MLP", "encoder_hidden_size": 1}
    return {"peft_type": f"MINIGRAD_{method.name.upper()}"}


def from_config(config: dict) -> Method:
    """The method that PEFT's description means. Raises ValueError for a type or an option that we do not have.

    >>> from_config({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5}).length
    5
    """
    kind = config.get("peft_type")
    try:
        if kind == "LORA":
            return _lora_from(config)
        if kind == "PREFIX_TUNING":
            return PrefixTuning(length=config["num_virtual_tokens"])
        if kind == "PROMPT_TUNING":
            return PromptTuning(length=config["num_virtual_tokens"])
        if kind == "P_TUNING":
            return PTuning(("p",) * config["num_virtual_tokens"])
    except KeyError as error:
        raise ValueError(f"adapter_config.json of type {kind} lacks {error}") from None
    raise ValueError(f"adapter_config.json has peft_type {kind!r}; of PEFT's types we read LORA, PREFIX_TUNING, "
                     "PROMPT_TUNING and P_TUNING")


def _lora_to(method: LoRA) -> dict:
    # PEFT has no scaling "alpha": the same scale comes from alpha·r divided by r.
    alpha = method.alpha * method.rank if method.scaling == "alpha" else method.alpha
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": method.rank, "lora_alpha": alpha,
            "lora_dropout": method.dropout, "use_rslora": method.scaling == "alpha/sqrt(r)", "bias": method.bias,
            "target_modules": _targets_to(method.targets), "init_lora_weights": True, "fan_in_fan_out": False,
            "modules_to_save": None, "use_dora": False}


def _targets_to(targets):
    """PEFT takes a list of endings or one regular expression, so patterns with * become the latter."""
    names = [targets] if isinstance(targets, str) else sorted(targets)
    if names == ["all-linear"]:
        return "all-linear"
    if any(c in name for name in names for c in "*?["):
        return "|".join(fnmatch.translate(n) if any(c in n for c in "*?[") else rf"(.*\.)?{re.escape(n)}" for n in names)
    return names


def _lora_from(config: dict) -> LoRA:
    for option in MISSING:
        if config.get(option):
            raise ValueError(f"this adapter uses PEFT's option {option}={config[option]!r}, which minigrad's LoRA does "
                             "not have")
    targets = config.get("target_modules") or ()
    if isinstance(targets, str) and targets != "all-linear":
        raise ValueError(f"this adapter names its targets by a regular expression, {targets!r}; minigrad reads a list of "
                         "names, or 'all-linear'")
    return LoRA(rank=config.get("r", 8), alpha=config.get("lora_alpha", 8),
                targets=targets if isinstance(targets, str) else tuple(targets),
                dropout=config.get("lora_dropout", 0.0), bias=config.get("bias", "none"),
                scaling="alpha/sqrt(r)" if config.get("use_rslora") else "alpha/r")
