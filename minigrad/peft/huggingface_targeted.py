"""VeRA, (IA)³, AdaLoRA, GLoRA and layer-norm tuning in the words of Hugging Face PEFT: adapter_config.json, both ways.

Their tensors have PEFT's names and shapes in our modules already; only what PEFT stores besides is left out. Under the
names of Hugging Face's GPT-2 and Llama (names.py) each path becomes another; GPT-2's c_attn, which is our q, k and v, is
scaled by (IA)³ as one, with 1 for what is not scaled here. The other methods cannot have it in parts.
"""
from __future__ import annotations

import warnings

from minigrad.backend import host
from minigrad.nn import LayerNorm, Linear, Module, RMSNorm
from minigrad.peft import names as naming
from minigrad.peft.adalora import AdaLoRA
from minigrad.peft.glora import GLoRA
from minigrad.peft.huggingface_lora import HARMLESS, MISSING, READ, named, targets_of
from minigrad.peft.ia3 import IA3
from minigrad.peft.layernorm import LayerNormTuning
from minigrad.peft.method import PEFT_PREFIX, Method
from minigrad.peft.targets import match
from minigrad.peft.vera import VeRA

# What we read of each; anything else that a file says is warned about.
NAMED = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "bias")
OPTIONS = {
    "VERA": ("r", "projection_prng_key", "save_projection", "vera_dropout", "d_initial", "init_weights"),
    "IA3": ("feedforward_modules", "init_ia3_weights"),
    "ADALORA": ("init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step", *READ,
                *MISSING),
    "GLORA": ("r", "config_A_B", "config_C", "config_D_E", "init_weights"),
    "LN_TUNING": ()}


def write(method: Method, base: Module, state: dict, kind: str | None = None) -> tuple[dict, dict] | None:
    """(PEFT's description, tensors) of a method of this file; None of any other, and where PEFT has no such setting.

    kind: None for our own names, "gpt2" or "llama".
    """
    config = _describe(method, base)
    if config is None or kind is None:
        return config and (config, state)
    if kind == "gpt2" and isinstance(method, GLoRA):
        raise ValueError("PEFT's GLoRA does not know the layers of Hugging Face's GPT-2: save under our own names")
    theirs = {path: name for name, paths in naming.sources(kind, base).items() for path in paths}
    tensors, new = _by_path(state, [name for name, _ in base.named_modules()])
    if strange := [path for path in tensors if path not in theirs]:
        raise ValueError(f"a {kind} model of Hugging Face has nothing like {', '.join(strange)}: save under our own names")
    for name, paths in naming.sources(kind, base).items():
        if any(path in tensors for path in paths):
            own = tensors[paths[0]] if len(paths) == 1 else _fused(method, kind, paths, tensors, base)
            new |= {f"{PEFT_PREFIX}{name}.{suffix}": array for suffix, array in own.items()}
    config["target_modules"] = sorted({theirs[path] for path in tensors})
    if isinstance(method, IA3):
        config["feedforward_modules"] = sorted({theirs[path] for path in tensors if method.scales_input(path)})
    if config.get("rank_pattern"):
        config["rank_pattern"] = {f"{theirs[name.removesuffix('.lora_E')]}.lora_E": kept
                                  for name, kept in config["rank_pattern"].items()}
    return {**config, "fan_in_fan_out": kind == "gpt2"}, new


def _describe(method: Method, base: Module) -> dict | None:
    if isinstance(method, VeRA) and method.save_projection:         # PEFT would draw other matrices from the seed
        return {"peft_type": "VERA", "r": method.rank, "d_initial": method.d_initial, "vera_dropout": method.dropout,
                "projection_prng_key": method.seed, "save_projection": True, **_named(method, base)}
    if isinstance(method, IA3):
        names = _named(method, base)
        inner = sorted(method.feedforward)
        if not set(inner) <= set(names["target_modules"]):          # PEFT wants these among those, word for word
            names["target_modules"] = match(method.targets, _linears(base))
            inner = [path for path in names["target_modules"] if method.scales_input(path)]
        return {"peft_type": "IA3", "feedforward_modules": inner, **names}
    if isinstance(method, AdaLoRA):
        first, final = (int(n) if n >= 1 else 0 for n in (method.tinit, method.tfinal))
        pattern = None if method.ranks is None else {
            f"{path}.lora_E": [i < r for i in range(method.r0)]
            for path, r in zip(method.targets, method.ranks, strict=True)}
        return {"peft_type": "ADALORA", "init_r": method.r0, "target_r": method.rank, "lora_alpha": method.alpha,
                "lora_dropout": method.dropout, "beta1": method.beta1, "beta2": method.beta2, "deltaT": method.interval,
                "orth_reg_weight": method.orthogonality, "tinit": first, "tfinal": final,
                "total_step": first + final + 1,            # PEFT asks for a length of training even of who only loads
                "rank_pattern": pattern, **_named(method, base)}
    if isinstance(method, GLoRA) and method.A == method.B and method.D == method.E:     # PEFT ties these
        return {"peft_type": "GLORA", "r": method.rank, "config_A_B": method.A, "config_C": method.C,
                "config_D_E": method.D, **_named(method, base)}
    if isinstance(method, LayerNormTuning):
        norms = [name for name, m in base.named_modules() if isinstance(m, LayerNorm | RMSNorm)]
        return {"peft_type": "LN_TUNING", "task_type": "CAUSAL_LM", "target_modules": norms}
    return None


def read(config: dict, state: dict, model: Module) -> tuple[Method, dict]:
    """(the method that PEFT's description means, its tensors) for `model`; ValueError for an option that we lack."""
    kind = config["peft_type"]
    _check_options(kind, config)
    other = naming.guess([name.removeprefix(PEFT_PREFIX) for name in state], model)
    own = {name: [name] for name, _ in model.named_modules()}
    places, linears = own if other is None else naming.sources(other, model), _linears(model)
    if kind == "LN_TUNING":
        return LayerNormTuning(), _our_names(state, other, places, model)
    places = {name: kept for name, paths in places.items() if (kept := [path for path in paths if path in linears])}
    chosen = targets_of(config, places, places)
    if not chosen:
        raise ValueError(f"none of this model's layers is one of the adapter's target_modules, "
                         f"{config.get('target_modules')!r}; it has {', '.join(places)}")
    if kind != "IA3" and (fused := [name for name in chosen if len(places[name]) > 1]):
        raise ValueError(f"this adapter changes {fused[0]}, which is {', '.join(places[fused[0]])} in our model, and PEFT's "
                         f"{kind} has no parts for these")
    state, paths = _our_names(state, other, places, model), [path for name in chosen for path in places[name]]
    listed = config.get("target_modules")
    narrowed = config.get("exclude_modules") or config.get("layers_to_transform")
    plain = other is None and isinstance(listed, list) and not narrowed
    targets = tuple(listed if plain else paths)
    if kind == "VERA":
        if not config.get("save_projection", True):
            raise ValueError("this VeRA file holds no projections (save_projection=False): PyTorch's generator would have to "
                             "draw them from the seed. In PEFT, save it with save_projection=True")
        return VeRA(config.get("r", 256), targets, config.get("d_initial", 0.1), config.get("vera_dropout", 0.0),
                    config.get("projection_prng_key", 0)), state
    if kind == "IA3":
        given = config.get("feedforward_modules")
        inner = [path for name in chosen if named(given or [], name) for path in places[name]]
        return IA3(targets, tuple(given if plain and isinstance(given, list) else inner)), state
    if kind == "GLORA":
        two, one, ends = (config.get(k, default) for k, default in
                          (("config_A_B", "lora"), ("config_C", "lora"), ("config_D_E", "constant")))
        # For each support that is "none" PEFT stores the zeros it stands for, a whole matrix of them.
        return GLoRA(config.get("r", 8), targets, two, two, one, ends, ends), \
            {name: a for name, a in state.items() if not name.endswith(".zeros")}
    ranks = None
    if pattern := config.get("rank_pattern"):
        left = {path: sum(kept) for name, kept in pattern.items() for path in places.get(name.partition(".lora_E")[0], ())}
        targets = tuple(path for path in paths if left.get(path))
        ranks = tuple(left[path] for path in targets)
    return AdaLoRA(config.get("target_r", 8), config.get("init_r", 12), config.get("lora_alpha", 8), targets,
                   config.get("tinit", 0), config.get("tfinal", 0), config.get("deltaT", 1), config.get("beta1", 0.85),
                   config.get("beta2", 0.85), config.get("orth_reg_weight", 0.5), config.get("lora_dropout", 0.0),
                   ranks), state


def _our_names(state: dict, other: str | None, places: dict, model: Module) -> dict:
    """The tensors under our names; places: {name in the file: our paths}."""
    if other is None:
        return state
    tensors, rest = _by_path(state, places)
    return rest | {f"{PEFT_PREFIX}{path}.{suffix}": array for path, own in naming.to_ours(other, tensors, model).items()
                   for suffix, array in own.items()}


def _by_path(state: dict, paths) -> tuple[dict, dict]:
    """({path: {suffix: array}}, what belongs to none of `paths`)."""
    known, found, rest = set(paths), {}, {}
    for name, array in state.items():
        path, suffix = name.removeprefix(PEFT_PREFIX), []
        while path and path not in known:
            path, _, last = path.rpartition(".")
            suffix.insert(0, last)
        if path and name.startswith(PEFT_PREFIX):
            found.setdefault(path, {})[".".join(suffix)] = array
        else:
            rest[name] = array
    return found, rest


def _fused(method: Method, kind: str, paths, tensors: dict, base: Module) -> dict:
    """The tensors of one layer that is several of ours."""
    own = [tensors.get(path, {}) for path in paths]
    sizes = [base.get_submodule(path).weight.shape[0] for path in paths]
    if not isinstance(method, IA3) or any(method.scales_input(path) for path in paths if path in tensors):
        raise ValueError(f"Hugging Face's {kind} computes {', '.join(paths)} in one layer, which this adapter cannot have in "
                         f"parts: {method!r}. Save under our own names, or choose other targets")
    l = [t.get("ia3_l", host.np.ones((n, 1))) for t, n in zip(own, sizes, strict=True)]
    return {"ia3_l": host.np.concatenate(l).astype(next(t["ia3_l"].dtype for t in own if t))}


def _linears(model: Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, Linear)]


def _named(method, base: Module) -> dict:
    """Targets as PEFT's list of names; patterns become the paths that they match."""
    targets = [method.targets] if isinstance(method.targets, str) else list(method.targets)
    if any(c in target for target in targets for c in "*?[:") or "all-linear" in targets:
        targets = match(targets, _linears(base))
    return {"task_type": "CAUSAL_LM", "target_modules": sorted(targets), "bias": "none", "modules_to_save": None}


def _check_options(kind: str, config: dict) -> None:
    for option in ("modules_to_save", *(MISSING if kind == "ADALORA" else ())):
        if config.get(option):
            raise ValueError(f"this adapter uses PEFT's option {option}={config[option]!r}, which minigrad does not have")
    if config.get("bias") not in (None, "none"):
        raise ValueError(f"this adapter trains biases as well (bias={config['bias']!r}), which minigrad has with LoRA only")
    if unknown := sorted(set(config) - {*HARMLESS, *NAMED, *OPTIONS[kind], "minigrad"}):
        warnings.warn(f"adapter_config.json has options that minigrad does not know, which are ignored: {', '.join(unknown)}",
                      stacklevel=4)
