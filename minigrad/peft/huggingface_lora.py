"""LoRA and its variants in the words of Hugging Face PEFT: adapter_config.json and the names of the tensors, both ways."""
from __future__ import annotations

import re
import warnings
from collections import Counter

from minigrad.backend import host
from minigrad.nn import Embedding, Linear, Module
from minigrad.peft import names as naming
from minigrad.peft.dora import DoRA
from minigrad.peft.lora import LoRA, alpha_for, lora_layers
from minigrad.peft.lora_init import RESIDUAL
from minigrad.peft.method import PEFT_PREFIX
from minigrad.peft.pissa import PiSSA
from minigrad.peft.targets import WRAPPED

# Options of PEFT's LoRA that change what is computed and that we lack: refused where they are set.
MISSING = ("modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters", "use_qalora",
           "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config", "velora_config")
# What says nothing about the function, or only how training started.
HARMLESS = ("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
            "inference_mode", "fan_in_fan_out", "megatron_config", "megatron_core", "loftq_config", "eva_config",
            "corda_config", "lora_ga_config", "qalora_group_size", "ensure_weight_tying", "runtime_config")
READ = ("r", "lora_alpha", "lora_dropout", "bias", "use_rslora", "use_dora", "target_modules", "exclude_modules",
        "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "init_lora_weights", "lora_bias")
STARTS = {True: "kaiming", False: "kaiming", "gaussian": "gaussian", "orthogonal": "kaiming", "eva": "kaiming",
          "pissa": "pissa", "olora": "olora"}       # values come from the file; but these two split the base's weights
SUFFIX = re.compile(r"(.+?)\.(lora_[AB]\.weight|lora_B\.bias|lora_embedding_[AB]|lora_magnitude_vector|"
                    r"(?:base_layer\.)?(?:bias|weight))")


def write(method: LoRA, tree: Module, base: Module, state: dict, kind: str | None = None) -> tuple[dict, dict]:
    """(adapter_config.json, tensors) of a LoRA; kind: "gpt2" or "llama" for the names of these models."""
    layers = {name.replace(WRAPPED, ""): (m.factor_parameters()[0].shape[0], m.scale)
              for name, m in lora_layers(tree).items()}
    if method.slices is not None:
        if kind is not None:
            raise ValueError("PEFT has no pairs for the slices of a fused layer. Save what peft.to_lora(adapted) adds")
        return {"peft_type": "MINIGRAD_LORA"}, state
    if kind is not None:
        if method.init in RESIDUAL and kind == "gpt2":
            raise ValueError(f"init={method.init!r} splits each weight, and Hugging Face's GPT-2 has some of them fused. Save "
                             "what peft.to_lora(adapted) adds: a plain LoRA for the original weights")
        tensors, layers = naming.to_theirs(kind, _by_path(state), layers, base)
        state = {f"{PEFT_PREFIX}{path}.{suffix}": array for path, own in tensors.items() for suffix, array in own.items()}
    stabilized = method.scaling == "alpha/sqrt(r)"
    ranks = {path: rank for path, (rank, _) in layers.items()}      # PEFT has no scaling "alpha": α·r there gives the same s
    alphas = {path: alpha_for(method.scaling if stabilized else "alpha/r", s, r) for path, (r, s) in layers.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    simple = kind is None and method.layers is None and not isinstance(method.targets, str) \
        and not any(c in target for target in method.targets for c in "*?[:") and "all-linear" not in method.targets
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "lora_dropout": method.dropout,
            "use_rslora": stabilized, "use_dora": isinstance(method, DoRA), "bias": method.bias,
            "lora_bias": method.lora_bias,
            "target_modules": sorted(method.targets) if simple else sorted(layers),
            "rank_pattern": {path: r for path, r in ranks.items() if r != rank},
            "alpha_pattern": {path: a for path, a in alphas.items() if a != alpha},
            "init_lora_weights": method.init if method.init in (*RESIDUAL, "gaussian") else True,
            "fan_in_fan_out": kind == "gpt2", "modules_to_save": None, "layers_to_transform": None}, state


def read(config: dict, state: dict, model: Module) -> tuple[LoRA, dict]:
    """(the method that PEFT's description means, the tensors under our names) for `model`.

    Options that we do not know are warned about; those that we know to lack, and tensors that do not go with the targets,
    are refused with ValueError.
    """
    _check_options(config)
    tensors = _by_path(state)
    kind = naming.guess(tensors, model)
    own = {name: [name] for name, m in model.named_modules() if isinstance(m, Linear | Embedding)}
    places = own if kind is None else {name: kept for name, paths in naming.sources(kind, model).items()
                                       if (kept := [path for path in paths if path in own])}
    linears = [name for name, paths in places.items() if isinstance(model.get_submodule(paths[0]), Linear)]
    chosen = targets_of(config, places, linears)
    if not chosen:
        raise ValueError(f"none of this model's layers is one of the adapter's target_modules, "
                         f"{config.get('target_modules')!r}; it has {', '.join(places)}")
    if config.get("init_lora_weights") in RESIDUAL and kind == "gpt2":
        raise ValueError(f"init_lora_weights={config['init_lora_weights']!r} split GPT-2's weights, of which some are fused "
                         "and apart in our model. In PEFT, save it with path_initial_model_for_weight_conversion, which "
                         "makes it a plain LoRA for the original weights")
    default, paths, sizes = (config.get("r", 8), config.get("lora_alpha", 8)), [], {}
    for name in chosen:
        size = tuple(_pattern(config.get(pattern), name, value)
                     for pattern, value in zip(("rank_pattern", "alpha_pattern"), default, strict=True))
        paths += places[name]
        sizes.update((path, size) for path in places[name] if size != default)
    listed = config.get("target_modules")
    short = kind is None and isinstance(listed, list) and [name for name in places if named(listed, name)] == chosen
    start = STARTS[config.get("init_lora_weights", True)]
    cls = DoRA if config.get("use_dora") else PiSSA if start in RESIDUAL else LoRA
    method = cls(rank=default[0], alpha=default[1], targets=tuple(listed if short else paths), init=start,
                 scaling="alpha/sqrt(r)" if config.get("use_rslora") else "alpha/r",
                 dropout=config.get("lora_dropout", 0.0), bias=config.get("bias", "none"),
                 lora_bias=bool(config.get("lora_bias")),
                 rank_pattern={path: r for path, (r, _) in sizes.items() if r != default[0]},
                 alpha_pattern={path: a for path, (_, a) in sizes.items() if a != default[1]})
    if kind is not None:
        tensors = naming.to_ours(kind, tensors, model)
    _drop_weights_of_the_base(tensors, model)
    return method, {f"{PEFT_PREFIX}{path}.{suffix}": array for path, t in tensors.items() for suffix, array in t.items()}


def targets_of(config: dict, names, linears) -> list[str]:
    """Those of `names` that PEFT would adapt by this description; linears: those of them that "all-linear" may mean.

    >>> targets_of({"target_modules": ["q_proj"], "layers_to_transform": [1]}, ["h.0.q_proj", "h.1.q_proj"], [])
    ['h.1.q_proj']
    """
    wanted, excluded = (config.get(option) or [] for option in ("target_modules", "exclude_modules"))
    for option in (wanted, excluded):
        if not (isinstance(option, str) or isinstance(option, list) and all(isinstance(w, str) for w in option)):
            raise ValueError(f"adapter_config.json: targets are a list of names or a regular expression; got {option!r}")
    if wanted == "all-linear":
        wanted = [name for name in linears if name.rpartition(".")[2] not in ("head", "lm_head")]
    found = [name for name in names if named(wanted, name) and not named(excluded, name)]
    layers, patterns = config.get("layers_to_transform"), config.get("layers_pattern") or [r"[^.]*"]
    if layers is None or layers == [] or isinstance(wanted, str):
        return found
    layers = [layers] if isinstance(layers, int) else layers
    patterns = [patterns] if isinstance(patterns, str) else patterns
    numbers = {name: next((int(m[1]) for p in patterns if (m := re.match(rf"(?:.*?\.)?{p}\.(\d+)\.", name))), None)
               for name in found}
    return [name for name in found if numbers[name] in layers]


def named(wanted, name: str) -> bool:
    """PEFT's rule: a string is a regular expression for the whole name, an entry of a list the name or its end."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(name == w or name.endswith("." + w) for w in wanted)


def _pattern(patterns: dict | None, name: str, default):
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _by_path(state: dict) -> dict:
    """{path: {suffix: array}}; ValueError for a name that no adapter of LoRA's kind has."""
    found = {}
    for name, array in state.items():
        match = SUFFIX.fullmatch(name.removeprefix(PEFT_PREFIX))
        if match is None:
            raise ValueError(f"tensor {name!r} is none that LoRA has")
        found.setdefault(match[1], {})[match[2]] = array
    return found


def _drop_weights_of_the_base(tensors: dict, model: Module) -> None:
    """PEFT saves the embedding and the head as they are beside a LoRA on one of them; they must be the base's."""
    own = dict(model.named_parameters(remove_duplicate=False))
    for path, t in tensors.items():
        for suffix in ("weight", "base_layer.weight"):
            if suffix in t and (p := own.get(f"{path}.weight")) is not None:
                if t[suffix].shape != p.shape or not host.np.allclose(t[suffix], p.numpy(), rtol=1e-3, atol=1e-5):
                    raise ValueError(f"the adapter's file has a {path}.weight of its own, {tuple(t[suffix].shape)}, which is "
                                     "not this base's: it was trained or resized with the adapter. Load it into the base "
                                     "first")
                del t[suffix]


def _check_options(config: dict) -> None:
    for option in MISSING:
        if config.get(option):
            raise ValueError(f"this adapter uses PEFT's option {option}={config[option]!r}, which minigrad's LoRA does "
                             "not have")
    start = config.get("init_lora_weights", True)
    if start not in STARTS:
        raise ValueError(f"this adapter was started with init_lora_weights={start!r}, which changes the base in a way that we "
                         "cannot repeat. In PEFT, save it with path_initial_model_for_weight_conversion, which makes it a "
                         "plain LoRA for the original base")
    if unknown := sorted(set(config) - {*MISSING, *HARMLESS, *READ, "minigrad"}):
        warnings.warn(f"adapter_config.json has options that minigrad does not know, which are ignored: {', '.join(unknown)}",
                      stacklevel=4)
