"""Generating text: predict, choose, append, again. Works for every model with GPT's interface."""
from __future__ import annotations

from minigrad.autograd import Tensor, no_grad
from minigrad.backend import host
from minigrad.nn.checks import positive


def generate(model, prompts, max_new_tokens: int, *, temperature: float = 0.0, top_k: int | None = None,
             stop: int | None = None, seed: int | None = None, use_cache: bool = True) -> list:
    """Continue each prompt; gives a list of 1-D host integer arrays: the new tokens only, without the stop token.

    prompts: a list of 1-D id sequences, lengths may differ (equal lengths run as one batch, without padding).
    temperature: 0 takes the likeliest token; else tokens are drawn from softmax(logits/temperature), among the top_k
    likeliest if given. seed: the draws come from it alone, prompt by prompt; None takes a seed from mg.manual_seed's
    generator. Ends at `stop`, after max_new_tokens, or where the context is full. Each step reads logits from the
    device once. Raises ValueError for an empty prompt or one that does not fit into the context.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=1, n_heads=2))
    >>> [len(new) for new in gpt.generate([[1, 2, 3], [4]], max_new_tokens=5)]
    [5, 5]
    """
    np = host.np
    prompts = _check(model, prompts, max_new_tokens, temperature, top_k, stop, seed)
    if temperature > 0 and seed is None:
        seed = int(host.rng().integers(2**63))
    # One stream of random numbers per prompt: what it draws does not depend on which prompts run beside it.
    rngs = [np.random.default_rng([seed, i]) for i in range(len(prompts))] if temperature > 0 else None
    new = [[] for _ in prompts]
    lengths = sorted({len(p) for p in prompts})
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            for length in lengths:
                rows = [i for i, p in enumerate(prompts) if len(p) == length]
                _continue(model, prompts, rows, new, max_new_tokens, temperature, top_k, stop, rngs, use_cache)
    finally:
        for module, mode in modes:
            module.training = mode
    return [np.array(tokens, dtype=np.int64) for tokens in new]


def _continue(model, prompts, rows, new, max_new_tokens, temperature, top_k, stop, rngs, use_cache) -> None:
    """Fill new[i] for the prompts `rows`, which are equally long; rows that have ended leave the batch."""
    from minigrad.models.decode import decoder  # (it needs GPT, which needs this file)

    np = host.np
    ids = np.stack([prompts[i] for i in rows])              # (B, T)
    steps = min(max_new_tokens, _room(model) - ids.shape[1])
    cache = model.new_cache(len(rows), ids.shape[1] + steps) if use_cache and steps > 0 else None
    fed, decode = ids, None
    for step in range(steps):
        if decode is None:
            logits = model(fed, cache=cache).data[:, -1]    # (B, T or 1) -> (B, T or 1, V) -> (B, V)
            decode = decoder(model, cache) if cache is not None and step == 0 else None
        else:
            logits = decode(fed[:, 0])                      # the same on plain arrays: (B,) -> (B, V)
        last = Tensor(logits).numpy()                       # the step's one read
        if np.isnan(last).any():
            raise ValueError(f"the model's logits are NaN after {step} new tokens: its weights have overflowed or were "
                             "never trained to a finite loss")
        if temperature == 0:
            chosen = last.argmax(axis=1)                    # (B, V) -> (B,)
        else:
            chosen = np.array([_draw(row, temperature, top_k, rngs[i]) for row, i in zip(last, rows, strict=True)])
        going = [b for b in range(len(rows)) if chosen[b] != stop]
        for b in going:
            new[rows[b]].append(int(chosen[b]))
        if not going or step == steps - 1:
            return
        if len(going) < len(rows):
            rows, ids, chosen = [rows[b] for b in going], ids[going], chosen[going]
            if cache is not None:
                cache.select(going)
        if cache is None:
            fed = ids = np.concatenate([ids, chosen[:, None]], axis=1)
        else:                                               # only the newest token is computed
            fed = chosen[:, None]


def _draw(logits, temperature: float, top_k: int | None, rng) -> int:
    """One token from softmax(logits/temperature), among the top_k likeliest; host arithmetic in float64."""
    np = host.np
    z = logits.astype(np.float64)
    if top_k is not None and top_k < z.size:
        z[np.argsort(-z, kind="stable")[top_k:]] = -np.inf
    p = np.exp((z - z.max()) / temperature)
    total = np.cumsum(p)                                    # first token whose cumulative share exceeds the draw
    chosen = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return min(chosen, int(np.flatnonzero(p)[-1]))          # rounding must not lead past the last possible token


def _room(model) -> int:
    """How many positions real tokens have."""
    return model.config.context - model.position_shift


def _check(model, prompts, max_new_tokens, temperature, top_k, stop, seed) -> list:
    np, vocab = host.np, model.config.vocab_size
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int | np.integer) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be a whole number of at least 0; got {max_new_tokens!r}")
    if not isinstance(temperature, int | float | np.number) or not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number of at least 0; got {temperature!r}")
    if top_k is not None:
        positive(top_k, "top_k")
    if stop is not None and (not isinstance(stop, int | np.integer) or not 0 <= stop < vocab):
        raise ValueError(f"stop must be a token id in 0 … {vocab - 1}, or None; got {stop!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"seed must be a non-negative integer or None; got {seed!r}")
    checked = []
    for i, prompt in enumerate(prompts):
        ids = host.ids(prompt, vocab, f"prompt {i}: token id")
        if ids.ndim != 1:
            raise ValueError(f"prompts must be a list of 1-D id sequences; prompt {i} has shape {ids.shape}"
                             + (". Put one prompt in a list: generate([prompt], …)" if ids.ndim == 0 else ""))
        if len(ids) == 0:
            raise ValueError(f"prompt {i} is empty: the model needs at least one token to continue")
        if len(ids) > _room(model):
            raise ValueError(f"prompt {i} has {len(ids)} tokens, but the context has room for {_room(model)}: "
                             "shorten it")
        checked.append(ids)
    return checked
