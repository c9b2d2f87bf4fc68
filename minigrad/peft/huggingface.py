"""adapter_config.json in the words of Hugging Face PEFT, for the methods that PEFT has; both directions.

The tensors' names need no table: they are PEFT's prefix and our module paths (method.py), and these methods call their
parameters what PEFT calls them. LoRA has options enough for a file of its own, huggingface_lora.py; the other methods
that are put around linear layers share huggingface_targeted.py.
"""
from __future__ import annotations

from minigrad.nn import Module
from minigrad.peft import huggingface_lora, huggingface_targeted
from minigrad.peft.adapted import AdaptedModel
from minigrad.peft.lora import LoRA
from minigrad.peft.method import Method
from minigrad.peft.prefix import PrefixTuning
from minigrad.peft.prompt import PromptTuning
from minigrad.peft.ptuning import PTuning


def write(adapted: AdaptedModel, names: str | None = None) -> tuple[dict, dict]:
    """(adapter_config.json, {name: host array}) of the active adapter; names: "gpt2" or "llama", see names.py."""
    method, state = adapted.method.stored(), adapted.state()
    if isinstance(method, LoRA):
        return huggingface_lora.write(method, adapted.model, adapted.base, state, names)
    if found := huggingface_targeted.write(method, adapted.base, state, names):
        return found
    if names is not None:
        raise ValueError(f"names={names!r}: PEFT has no adapter like {method!r}. Save it under our own names (names=None)")
    return to_config(method), state


def read(config: dict, state: dict, model: Module) -> tuple[Method, dict]:
    """(method, tensors under our names) of a file that was written for `model`, or for the model of which it is a twin."""
    if config.get("peft_type") == "LORA":
        return huggingface_lora.read(config, state, model)
    if config.get("peft_type") in huggingface_targeted.OPTIONS:
        return huggingface_targeted.read(config, state, model)
    return from_config(config), state


def to_config(method: Method) -> dict:
    """PEFT's description of a method; of one that PEFT does not have, only a name.

    >>> to_config(PromptTuning(length=5))["num_virtual_tokens"]
    5
    """
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
        if kind == "PREFIX_TUNING":
            return PrefixTuning(length=config["num_virtual_tokens"])
        if kind == "PROMPT_TUNING":
            return PromptTuning(length=config["num_virtual_tokens"])
        if kind == "P_TUNING":
            return PTuning(("p",) * config["num_virtual_tokens"])
    except KeyError as error:
        raise ValueError(f"adapter_config.json of type {kind} lacks {error}") from None
    raise ValueError(f"adapter_config.json has peft_type {kind!r}; of PEFT's types we read LORA, PREFIX_TUNING, "
                     f"PROMPT_TUNING, P_TUNING, {', '.join(huggingface_targeted.OPTIONS)}")
