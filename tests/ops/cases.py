"""The table of operations: each with a NumPy reference, a domain to sample from and its awkward points.

`tests/ops/test_cases.py` generates the tests. A new operation needs a line here, or a test fails.
Sizes are distinct, so that a mixed-up dimension shows.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import minigrad as mg
from minigrad import ops


@dataclass
class Case:
    """One way to call an operation.

    name: its id · ops: registry names that it must exercise · fn: tensors -> tensor · reference: float64 arrays -> array
    · samplers: rng -> float64 array, one per tensor · awkward: inputs for the forward comparison only (kinks, borders)
    · empty: shapes of empty inputs, or None where emptiness has no meaning.
    """

    name: str
    ops: tuple[str, ...]
    fn: Callable
    reference: Callable
    samplers: tuple[Callable, ...]
    awkward: tuple = ()
    empty: tuple | None = None
    smooth: bool = True
    rtol: float = 1e-12

    def sample(self, seed: int = 0) -> list[np.ndarray]:
        """Inputs, always the same for a seed."""
        rng = np.random.default_rng([seed, len(self.name)])
        return [sampler(rng) for sampler in self.samplers]


@dataclass
class Table:
    """The cases, in order, with distinct names."""

    cases: list[Case] = field(default_factory=list)

    def add(self, name, ops_, fn, reference, *samplers, **options) -> None:
        """Append a case; `ops_` is a name or several, separated by blanks."""
        assert all(name != case.name for case in self.cases), f"two cases are called {name}"
        self.cases.append(Case(name, tuple(ops_.split()), fn, reference, samplers, **options))


def uncovered(registry) -> set[str]:
    """The operations of a registry that no case exercises."""
    return set(registry) - {op for case in CASES for op in case.ops}


# ---- where inputs come from -----------------------------------------------------------------------------------------


def normal(*shape):
    """Standard normal numbers."""
    return lambda rng: rng.standard_normal(shape)


def between(low, high, *shape):
    """Evenly distributed numbers."""
    return lambda rng: rng.uniform(low, high, shape)


def away(*shape, gap=0.2):
    """Numbers of both signs, none near 0, where a kink or a pole is."""
    return lambda rng: rng.choice([-1.0, 1.0], shape) * rng.uniform(gap, 2.0, shape)


def distinct(*shape):
    """Numbers that differ by far more than a finite difference, in random order."""
    return lambda rng: rng.permutation(np.linspace(-2.0, 2.0, math.prod(shape))).reshape(shape)


def fixed(*values):
    """The numbers given."""
    return lambda rng: np.array(values, dtype=np.float64)


def mask(*shape):
    """A host boolean mask with both values in it."""
    flat = np.arange(math.prod(shape)) % 3 != 1
    return flat.reshape(shape)


def seeded(fn):
    """The host generator restarted before each call, so that a random operation is a function."""
    def call(*args):
        mg.manual_seed(5)
        return fn(*args)

    return call


# ---- references that NumPy does not have ----------------------------------------------------------------------------


def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


def sigmoid(x):
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x)))


def softmax(x, dim):
    if x.size == 0:
        return x
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, w=1.0, b=0.0, dims=(-1,), eps=1e-5):
    centered = x - x.mean(axis=dims, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=dims, keepdims=True) + eps) * w + b


def rms_norm(x, w=1.0, eps=1e-5):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * w


def cross_entropy(x, t, ignore=-100, smoothing=0.0):
    log_p = np.log(softmax(x, 1))
    smooth = np.full(x.shape, smoothing / x.shape[1])
    rows = np.where(t == ignore, 0, t)
    smooth[np.arange(len(t)), rows] += 1.0 - smoothing
    return np.where(t == ignore, 0.0, -(smooth * log_p).sum(axis=1))


def attention(q, k, v, visible=None, additive=0.0, scale=None):
    s = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale) + additive
    if visible is None:
        visible = np.ones(s.shape[-2:], dtype=bool)
    e = np.where(visible, np.exp(s - s.max(axis=-1, keepdims=True)), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1.0, total) @ v


def one_norm_each(x):
    return x / np.maximum(np.sqrt((x**2).sum(axis=1, keepdims=True)), 1e-12)


TABLE = Table()
add = TABLE.add

# ---- arithmetic: every way of broadcasting --------------------------------------------------------------------------

for _name, _op, _ref, _second in (
    ("add", ops.add, np.add, normal), ("sub", ops.sub, np.subtract, normal), ("mul", ops.mul, np.multiply, normal),
    ("div", ops.div, np.divide, away),
):
    add(f"{_name}", _name, _op, _ref, normal(3, 4), _second(3, 4), empty=((0, 4), (0, 4)))
    add(f"{_name}-row", _name, _op, _ref, normal(3, 4), _second(4), empty=((0, 4), (4,)))
    add(f"{_name}-column", _name, _op, _ref, normal(3, 1), _second(3, 4))
    add(f"{_name}-both-ways", _name, _op, _ref, normal(2, 1, 4), _second(3, 1), empty=((0, 1, 4), (3, 1)))
    add(f"{_name}-0d", _name, _op, _ref, normal(3, 4), _second(), empty=((0,), ()))
    add(f"{_name}-0d-first", _name, _op, _ref, normal(), _second(2, 3))
    add(f"{_name}-number", _name, lambda x, op=_op: op(x, 2.5), lambda x, ref=_ref: ref(x, 2.5), normal(3, 4))
    add(f"{_name}-number-first", _name, lambda x, op=_op: op(2.5, x), lambda x, ref=_ref: ref(2.5, x), _second(3, 4))

add("same-twice", "mul add", lambda x: x * x + x, lambda x: x * x + x, normal(3, 4))
add("pow", "pow", ops.pow, np.power, between(0.3, 2.0, 3, 4), away(3, 4), empty=((0, 4), (0, 4)))
add("pow-row", "pow", ops.pow, np.power, between(0.3, 2.0, 3, 4), away(4))
add("pow-square", "pow", lambda x: x**2, lambda x: x**2, normal(3, 4), awkward=([np.array([0.0, -0.0, -3.0])],))
add("pow-cube", "pow", lambda x: x**3, lambda x: x**3, away(3, 4))
add("pow-zero", "pow", lambda x: x**0, lambda x: x**0, normal(3, 4), awkward=([np.zeros(3)],))
add("pow-half", "pow", lambda x: x**0.5, lambda x: x**0.5, between(0.3, 2.0, 3, 4))
add("pow-minus-two", "pow", lambda x: x**-2, lambda x: x**-2.0, away(3, 4))
add("pow-of-number", "pow", lambda x: 2.0**x, lambda x: 2.0**x, normal(3, 4))
for _name, _op, _ref in (("maximum", ops.maximum, np.maximum), ("minimum", ops.minimum, np.minimum)):
    add(_name, _name, _op, _ref, distinct(3, 4), lambda rng: distinct(3, 4)(rng) + 0.1, empty=((0, 4), (0, 4)),
        awkward=([np.array([1.0, 2.0]), np.array([1.0, -2.0])],))
    add(f"{_name}-column", _name, _op, _ref, lambda rng: distinct(3, 1)(rng) + 0.1, distinct(3, 4))
    add(f"{_name}-number", _name, lambda x, op=_op: op(x, 0.0), lambda x, ref=_ref: ref(x, 0.0), away(3, 4),
        awkward=([np.array([0.0, -0.0])],))
add("where", "where", lambda a, b: ops.where(mg.tensor(mask(3, 4)), a, b), lambda a, b: np.where(mask(3, 4), a, b),
    normal(3, 4), normal(4))
add("where-wide-mask", "where", lambda a, b: ops.where(mg.tensor(mask(2, 3, 4)), a, b),
    lambda a, b: np.where(mask(2, 3, 4), a, b), normal(3, 1), normal(4))
add("where-number", "where", lambda a: ops.where(mg.tensor(mask(3, 4)), a, 2.0), lambda a: np.where(mask(3, 4), a, 2.0),
    normal(3, 4))
add("masked-fill", "where", lambda a: ops.masked_fill(a, mg.tensor(mask(4)), -1e4),
    lambda a: np.where(mask(4), -1e4, a), normal(3, 4), empty=((0, 4),))
add("clamp", "clamp", lambda x: ops.clamp(x, -1.0, 1.0), lambda x: np.clip(x, -1, 1), between(-0.8, 0.8, 3, 4),
    awkward=([np.array([-3.0, -1.0, 0.0, 1.0, 3.0])],), empty=((0, 4),))
add("clamp-both-sides", "clamp", lambda x: ops.clamp(x, -1.0, 1.0), lambda x: np.clip(x, -1, 1),
    fixed(-3.0, -1.2, -0.7, 0.1, 0.8, 1.3))
add("clamp-low", "clamp", lambda x: ops.clamp(x, min=0.0), lambda x: np.maximum(x, 0), away(3, 4))
add("clamp-high", "clamp", lambda x: ops.clip(x, max=0.0), lambda x: np.minimum(x, 0), away(3, 4))

# ---- one input ------------------------------------------------------------------------------------------------------

for _name, _ref, _domain, _awkward in (
    ("exp", np.exp, normal(3, 4), [0.0, -700.0]),
    ("expm1", np.expm1, normal(3, 4), [0.0, 1e-9, -700.0]),
    ("log", np.log, between(0.2, 3.0, 3, 4), [1.0, 1e-300]),
    ("log1p", np.log1p, between(-0.7, 3.0, 3, 4), [0.0, 1e-9]),
    ("sqrt", np.sqrt, between(0.2, 3.0, 3, 4), [0.0, 1e-300]),
    ("rsqrt", lambda x: 1 / np.sqrt(x), between(0.2, 3.0, 3, 4), [1.0, 1e-30]),
    ("reciprocal", np.reciprocal, away(3, 4), [1e-30, -1e30]),
    ("square", np.square, normal(3, 4), [0.0, -1e100]),
    ("sin", np.sin, normal(3, 4), [0.0, math.pi, 1e5]),
    ("cos", np.cos, normal(3, 4), [0.0, math.pi / 2, 1e5]),
    ("abs", np.abs, away(3, 4), [0.0, -0.0, -1e300]),
    ("neg", np.negative, normal(3, 4), [0.0, -0.0]),
    ("erf", erf, normal(3, 4), [0.0, -0.46875, 0.46875, 0.468751, 3.9999, 4.0, -4.0001, 26.0, 300.0, -1e300]),
    ("tanh", np.tanh, normal(3, 4), [0.0, 400.0, -400.0]),
    ("sigmoid", sigmoid, normal(3, 4), [0.0, 1e4, -1e4, 710.0, -710.0]),
    ("relu", lambda x: np.maximum(x, 0), away(3, 4), [0.0, -0.0, -1e4]),
    ("silu", lambda x: x * sigmoid(x), normal(3, 4), [0.0, 1e4, -1e4]),
):
    add(_name, _name, getattr(ops, _name), _ref, _domain, awkward=([np.array(_awkward)], [np.array(_awkward[0])]),
        empty=((0, 4),))
add("gelu-tanh", "gelu", lambda x: ops.gelu(x, approximate="tanh"), gelu_tanh, normal(3, 4),
    awkward=([np.array([0.0, 50.0, -50.0, 1e4, -1e4])],), empty=((0, 4),))
add("gelu-exact", "erf mul add", ops.gelu, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), normal(3, 4),
    awkward=([np.array([0.0, 50.0, -50.0])],), empty=((0, 4),))
add("gelu-naive", "tanh", ops.gelu_naive, gelu_tanh, normal(3, 4))
add("softplus", "softplus", ops.softplus, lambda x: np.logaddexp(x, 0), normal(3, 4),
    awkward=([np.array([0.0, 1e4, -1e4])],), empty=((0, 4),))
add("softplus-beta", "softplus", lambda x: ops.softplus(x, beta=3.0), lambda x: np.logaddexp(3 * x, 0) / 3, normal(3, 4))
add("softplus-naive", "exp log1p", lambda x: ops.softplus_naive(x, 2.0), lambda x: np.logaddexp(2 * x, 0) / 2,
    normal(3, 4))
add("dropout", "dropout", seeded(lambda x: ops.dropout(x, 0.3)),
    lambda x: x * (np.random.default_rng(5).random(x.shape, dtype=np.float32) >= 0.3) / 0.7, normal(5, 4),
    empty=((0, 4),))
add("cast", "cast", lambda x: x.to("float16").to(x.dtype), lambda x: x, fixed(0.5, -1.25, 3.0), smooth=False)

# ---- reductions -----------------------------------------------------------------------------------------------------

for _dim in (None, 0, -2, (0, 2), (-1, -2)):
    for _keep in (False, True) if _dim in (None, -2, (0, 2)) else (False,):
        _id = f"dim={_dim}{'-keep' if _keep else ''}"
        _np = {"axis": _dim, "keepdims": _keep}
        _mg = {"dim": _dim, "keepdim": _keep}
        add(f"sum-{_id}", "sum", lambda x, o=_mg: ops.sum(x, **o), lambda x, o=_np: np.sum(x, **o), normal(2, 3, 4),
            empty=((2, 0, 4),))
        add(f"mean-{_id}", "mean", lambda x, o=_mg: ops.mean(x, **o), lambda x, o=_np: np.mean(x, **o), normal(2, 3, 4))
        add(f"var-{_id}", "var", lambda x, o=_mg: ops.var(x, **o), lambda x, o=_np: np.var(x, ddof=1, **o),
            normal(2, 3, 4), rtol=1e-11)
        add(f"amax-{_id}", "amax", lambda x, o=_mg: ops.amax(x, **o), lambda x, o=_np: np.max(x, **o),
            distinct(2, 3, 4), awkward=([np.ones((2, 3, 4))],))
        add(f"amin-{_id}", "amin", lambda x, o=_mg: ops.amin(x, **o), lambda x, o=_np: np.min(x, **o),
            distinct(2, 3, 4), awkward=([np.ones((2, 3, 4))],))
        add(f"norm-{_id}", "norm", lambda x, o=_mg: ops.norm(x, **o),
            lambda x, o=_np: np.sqrt(np.sum(x * x, **o)), away(2, 3, 4), awkward=([np.zeros((2, 3, 4))],))
        if _dim is not None:
            add(f"logsumexp-{_id}", "logsumexp", lambda x, o=_mg: ops.logsumexp(x, **o),
                lambda x, o=_np: np.log(np.sum(np.exp(x), **o)), normal(2, 3, 4))
        if not isinstance(_dim, tuple):
            add(f"prod-{_id}", "prod", lambda x, o=_mg: ops.prod(x, **o), lambda x, o=_np: np.prod(x, **o),
                away(2, 3, 4))
        if isinstance(_dim, int):
            add(f"max-{_id}", "gather", lambda x, o=_mg: ops.max(x, **o)[0], lambda x, o=_np: np.max(x, **o),
                distinct(2, 3, 4))
            add(f"min-{_id}", "gather", lambda x, o=_mg: ops.min(x, **o)[0], lambda x, o=_np: np.min(x, **o),
                distinct(2, 3, 4))
add("sum-0d", "sum", ops.sum, np.sum, normal())
add("sum-empty-dim", "sum", lambda x: ops.sum(x, 1), lambda x: np.sum(x, 1), normal(2, 3), empty=((2, 0),))
add("mean-empty-batch", "mean", lambda x: ops.mean(x, -1), lambda x: np.mean(x, -1), normal(2, 3), empty=((0, 3),))
add("var-population", "var", lambda x: ops.var(x, 1, correction=0), lambda x: np.var(x, 1), normal(3, 4), rtol=1e-11,
    empty=((0, 4),))
add("var-correction-2", "var", lambda x: ops.var(x, correction=2), lambda x: np.var(x, ddof=2), normal(3, 4), rtol=1e-11)
add("var-naive", "mean square sum", lambda x: ops.var_naive(x, -1), lambda x: np.var(x, -1, ddof=1), normal(3, 4))
add("std", "std", lambda x: ops.std(x, 1, keepdim=True), lambda x: np.std(x, 1, ddof=1, keepdims=True), normal(3, 4),
    awkward=([np.full((2, 4), 3.0)],))
add("std-population", "std", lambda x: ops.std(x, correction=0), np.std, normal(2, 3, 4))
add("std-two-dims", "std", lambda x: ops.std(x, (0, -1)), lambda x: np.std(x, (0, 2), ddof=1), normal(2, 3, 4))
add("prod-zeros", "prod", lambda x: ops.prod(x, 1), lambda x: np.prod(x, 1),
    lambda rng: np.array([[2.0, 0.0, 3.0, 0.5], [0.0, 1.0, 0.0, 2.0], [1.0, -2.0, 3.0, 1.5]]), empty=((0, 4),))
add("prod-empty-dim", "prod", lambda x: ops.prod(x, 1), lambda x: np.prod(x, 1), normal(2, 3), empty=((2, 0),))
for _dim in (0, 1, -1):
    add(f"cumsum-dim={_dim}", "cumsum", lambda x, d=_dim: ops.cumsum(x, d), lambda x, d=_dim: np.cumsum(x, d),
        normal(3, 4), empty=((0, 4),))
add("logsumexp-far", "logsumexp", lambda x: ops.logsumexp(x, -1), lambda x: np.log(np.sum(np.exp(x - 1e4), -1)) + 1e4,
    lambda rng: rng.standard_normal((3, 4)) + 1e4, smooth=False, rtol=1e-10, empty=((0, 4),))
add("logsumexp-naive", "exp sum log", lambda x: ops.logsumexp_naive(x, 1), lambda x: np.log(np.sum(np.exp(x), 1)),
    normal(3, 4))
add("amax-batch", "amax", lambda x: ops.amax(x, -1), lambda x: np.max(x, -1), distinct(3, 4), empty=((0, 4),))
add("amin-batch", "amin", lambda x: ops.amin(x, -1), lambda x: np.min(x, -1), distinct(3, 4), empty=((0, 4),))
add("norm-batch", "norm", lambda x: ops.norm(x, dim=-1), lambda x: np.sqrt((x * x).sum(-1)), normal(3, 4),
    empty=((0, 4),))
add("normalize", "norm clamp div", lambda x: ops.normalize(x, dim=1), one_norm_each, away(3, 4),
    awkward=([np.zeros((2, 3))],), empty=((0, 4),))

# ---- shapes ---------------------------------------------------------------------------------------------------------

add("reshape", "reshape", lambda x: ops.reshape(x, 4, -1), lambda x: x.reshape(4, -1), normal(2, 3, 4))
add("reshape-0d", "reshape", lambda x: ops.reshape(x, ()), lambda x: x.reshape(()), normal(1, 1))
add("view-empty", "reshape", lambda x: x.view(0, 2, 2), lambda x: x.reshape(0, 2, 2), lambda rng: np.zeros((0, 4)),
    smooth=False)
add("flatten", "reshape", lambda x: ops.flatten(x, 1), lambda x: x.reshape(2, -1), normal(2, 3, 4))
add("squeeze", "reshape", ops.squeeze, np.squeeze, normal(2, 1, 4, 1), empty=((0, 1, 4),))
add("squeeze-dim", "reshape", lambda x: ops.squeeze(x, -1), lambda x: x[..., 0], normal(2, 1, 4, 1))
add("unsqueeze", "reshape", lambda x: ops.unsqueeze(x, -2), lambda x: x[:, None], normal(3, 4), empty=((0, 4),))
add("permute", "permute", lambda x: ops.permute(x, 2, 0, 1), lambda x: x.transpose(2, 0, 1), normal(2, 3, 4),
    empty=((2, 0, 4),))
add("permute-cycle", "permute", lambda x: ops.permute(x, (1, -1, 0)), lambda x: x.transpose(1, 2, 0), normal(2, 3, 4))
add("split_heads", "split_heads", lambda x: ops.split_heads(x, 3), lambda x: x.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3),
    normal(2, 5, 12))
add("merge_heads", "merge_heads", ops.merge_heads, lambda x: x.transpose(0, 2, 1, 3).reshape(2, 5, 12), normal(2, 3, 5, 4))
add("transpose", "permute", lambda x: ops.transpose(x, 0, -1), lambda x: x.swapaxes(0, -1), normal(2, 3, 4))
add("T", "permute", lambda x: x.T, lambda x: x.T, normal(2, 3, 4))
add("mT", "permute", lambda x: x.mT, lambda x: x.swapaxes(-1, -2), normal(2, 3, 4))
add("expand", "expand", lambda x: ops.expand(x, 2, -1, 4), lambda x: np.broadcast_to(x, (2, 3, 4)), normal(3, 1),
    empty=None)
add("expand-new-dims", "expand", lambda x: ops.expand(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), normal(4))
add("expand-to-nothing", "expand", lambda x: ops.expand(x, 0, 3), lambda x: np.broadcast_to(x, (0, 3)), normal(1, 3))
add("flip", "flip", lambda x: ops.flip(x, 0), lambda x: np.flip(x, 0), normal(3, 4), empty=((0, 4),))
add("flip-two", "flip", lambda x: ops.flip(x, (0, -1)), lambda x: np.flip(x, (0, 2)), normal(2, 3, 4))
add("cat", "cat", lambda a, b, c: ops.cat([a, b, c], dim=1), lambda *xs: np.concatenate(xs, 1), normal(3, 2),
    normal(3, 1), normal(3, 4), empty=((3, 0), (3, 2), (3, 0)))
add("cat-first-dim", "cat", lambda a, b: ops.concatenate([a, b]), lambda *xs: np.concatenate(xs), normal(2, 3),
    normal(1, 3), empty=((0, 3), (0, 3)))
add("cat-itself", "cat", lambda a: ops.cat([a, a], dim=-1), lambda a: np.concatenate([a, a], -1), normal(2, 3))
add("stack", "stack", lambda a, b: ops.stack([a, b], dim=1), lambda *xs: np.stack(xs, 1), normal(3, 4), normal(3, 4),
    empty=((0, 4), (0, 4)))
add("stack-last", "stack", lambda a, b: ops.stack([a, b, a], dim=-1), lambda a, b: np.stack([a, b, a], -1),
    normal(3, 4), normal(3, 4))
add("split", "getitem mul", lambda x: ops.split(x, 2, dim=1)[0] * ops.split(x, [2, 3], dim=1)[0],
    lambda x: x[:, :2] * x[:, :2], normal(3, 5))
add("split-last", "getitem", lambda x: ops.split(x, 2, dim=-1)[2], lambda x: x[:, 4:], normal(3, 5), empty=((0, 5),))
add("chunk", "getitem", lambda x: ops.chunk(x, 3, dim=1)[1], lambda x: x[:, 2:4], normal(3, 5), empty=((0, 5),))
add("pad", "pad", lambda x: ops.pad(x, (1, 2)), lambda x: np.pad(x, ((0, 0), (1, 2))), normal(3, 4), empty=((0, 4),))
add("pad-two-dims", "pad", lambda x: ops.pad(x, (1, 0, 2, 3), value=-1.5),
    lambda x: np.pad(x, ((0, 0), (2, 3), (1, 0)), constant_values=-1.5), normal(2, 3, 4))
for _k in (-1, 0, 2):
    add(f"tril-{_k}", "tril", lambda x, k=_k: ops.tril(x, k), lambda x, k=_k: np.tril(x, k), normal(3, 4), empty=((0, 4),))
    add(f"triu-{_k}", "triu", lambda x, k=_k: ops.triu(x, k), lambda x, k=_k: np.triu(x, k), normal(2, 3, 4))

# ---- picking elements -----------------------------------------------------------------------------------------------

_ids = np.array([[2, 0, 2], [1, 2, 2]])
for _name, _key in (
    ("int", 1), ("minus-int", -1), ("slice", slice(1, None)), ("step", (slice(None), slice(None, None, 2))),
    ("backwards", slice(None, None, -1)), ("ints", (0, 2, 1)), ("none", (None, slice(None), None, 1)),
    ("ellipsis", (..., 1)), ("empty-slice", slice(1, 1)), ("list-repeats", [1, 0, 1, 1]), ("array", _ids % 2),
    ("two-arrays", (np.array([0, 1, 1]), np.array([2, 0, 0]))), ("array-and-slice", (slice(None), np.array([2, 0, 2]))),
    ("arrays-around-slice", (np.array([0, 1]), slice(None), np.array([1, 1]))), ("negative-list", [-1, 0, -1]),
    ("mask", mask(2, 3, 4)), ("mask-rows", np.array([True, False])), ("mask-second", (slice(None), mask(3))),
    ("no-index", ()), ("empty-list", []),
):
    _host = np.array(_key, dtype=int) if isinstance(_key, list) else _key
    add(f"getitem-{_name}", "getitem", lambda x, k=_key: x[k], lambda x, k=_host: x[k], normal(2, 3, 4))
add("getitem-tensor", "getitem", lambda x: x[mg.tensor(_ids)], lambda x: x[_ids], normal(3, 4))
add("getitem-tensor-mask", "getitem", lambda x: x[x.detach() == x.detach()], lambda x: x[x == x], normal(3, 4))
add("gather-0", "gather", lambda x: ops.gather(x, 0, _ids), lambda x: np.take_along_axis(x, _ids, 0), normal(3, 3))
add("gather-1", "gather", lambda x: ops.gather(x, 1, _ids), lambda x: np.take_along_axis(x, _ids, 1), normal(2, 4))
add("gather-smaller", "gather", lambda x: ops.gather(x, -1, _ids[:1, :2]), lambda x: np.take_along_axis(
    x[:1], _ids[:1, :2], 1), normal(3, 4))
add("index-select", "getitem", lambda x: ops.index_select(x, 1, [3, 0, 3]), lambda x: x[:, [3, 0, 3]], normal(2, 4),
    empty=((0, 4),))
add("embedding", "embedding", lambda w: ops.embedding(_ids, w), lambda w: w[_ids], normal(5, 4))
add("embedding-no-ids", "embedding", lambda w: ops.embedding(np.zeros((0, 3), dtype=int), w),
    lambda w: np.zeros((0, 3, 4)), normal(5, 4))
add("embedding-one-id", "embedding", lambda w: ops.embedding(2, w), lambda w: w[2], normal(5, 4))
add("embedding-naive", "matmul", lambda w: ops.embedding_naive(_ids, w), lambda w: w[_ids], normal(5, 4))

# ---- products -------------------------------------------------------------------------------------------------------

for _a, _b in (((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (4,)),
               ((4,), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 5)),
               ((1, 3, 4), (2, 4, 5))):
    add(f"matmul-{'x'.join(map(str, _a))}-{'x'.join(map(str, _b))}", "matmul", ops.matmul, np.matmul, normal(*_a),
        normal(*_b))
add("matmul-no-rows", "matmul", ops.matmul, np.matmul, normal(3, 4), normal(4, 5), empty=((0, 4), (4, 5)))
add("matmul-empty-batch", "matmul", ops.matmul, np.matmul, normal(2, 3, 4), normal(4, 5), empty=((0, 3, 4), (4, 5)))
add("matmul-nothing-inside", "matmul", ops.matmul, np.matmul, normal(2, 3, 4), normal(4, 5), empty=((2, 3, 0), (0, 5)))
add("matmul-no-columns", "matmul", ops.matmul, np.matmul, normal(2, 3, 4), normal(4, 5), empty=((2, 3, 4), (4, 0)))
add("matmul-operator", "matmul", lambda a, b: a @ b.transpose(0, 1), lambda a, b: a @ b.T, normal(3, 4), normal(5, 4))
add("linear", "linear", ops.linear, lambda x, w, b: x @ w.T + b, normal(3, 4), normal(5, 4), normal(5),
    empty=((0, 4), (5, 4), (5,)))
add("linear-no-bias", "linear", ops.linear, lambda x, w: x @ w.T, normal(2, 3, 4), normal(5, 4),
    empty=((2, 0, 4), (5, 4)))
add("linear-row", "linear", ops.linear, lambda x, w, b: x @ w.T + b, normal(4), normal(5, 4), normal(5))
add("linear-no-features", "linear", ops.linear, lambda x, w, b: x @ w.T + b, normal(3, 4), normal(5, 4), normal(5),
    empty=((3, 0), (5, 0), (5,)))
add("linear-naive", "permute matmul add", ops.linear_naive, lambda x, w, b: x @ w.T + b, normal(2, 3, 4), normal(5, 4),
    normal(5))

for _name, _op, _kinds in (("low-rank-linear", ops.low_rank_linear, "low_rank_linear"),
                           ("low-rank-linear-naive", ops.low_rank_linear_naive, "linear mul add")):
    add(_name, _kinds, lambda x, w, b, A, B, op=_op: op(x, w, b, A, B, 0.7),
        lambda x, w, b, A, B: x @ (w + 0.7 * B @ A).T + b, normal(3, 2, 4), normal(5, 4), normal(5), normal(2, 4), normal(5, 2))
    add(f"{_name}-no-bias", _kinds, lambda x, w, A, B, op=_op: op(x, w, None, A, B, 2.0),
        lambda x, w, A, B: x @ (w + 2.0 * B @ A).T, normal(7, 4), normal(5, 4), normal(2, 4), normal(5, 2))

# ---- fused ----------------------------------------------------------------------------------------------------------

_far = [np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]])]
for _dim in (0, 1, -1):
    add(f"softmax-dim={_dim}", "softmax", lambda x, d=_dim: ops.softmax(x, d), lambda x, d=_dim: softmax(x, d),
        normal(2, 3, 4), awkward=(_far,), empty=((2, 0, 4),))
    add(f"log-softmax-dim={_dim}", "log_softmax", lambda x, d=_dim: ops.log_softmax(x, d),
        lambda x, d=_dim: np.log(softmax(x, d)), normal(2, 3, 4), empty=((2, 0, 4),))
add("softmax-naive", "exp div amax", lambda x: ops.softmax_naive(x, -1), lambda x: softmax(x, -1), distinct(3, 4))
add("log-softmax-naive", "exp log", lambda x: ops.log_softmax_naive(x, 0), lambda x: np.log(softmax(x, 0)), distinct(3, 4))
add("layer-norm", "layer_norm", lambda x, w, b: ops.layer_norm(x, 4, w, b), layer_norm, normal(2, 3, 4), normal(4),
    normal(4), empty=((0, 4), (4,), (4,)), rtol=1e-11)
add("layer-norm-no-bias", "layer_norm", lambda x, w: ops.layer_norm(x, (4,), w), layer_norm, normal(3, 4), normal(4),
    rtol=1e-11)
add("layer-norm-plain", "layer_norm", lambda x: ops.layer_norm(x, 4, eps=1e-3), lambda x: layer_norm(x, eps=1e-3),
    normal(3, 4), awkward=([np.full((2, 4), 3.0)],), rtol=1e-11)
add("layer-norm-two-dims", "layer_norm", lambda x, w, b: ops.layer_norm(x, (3, 4), w, b),
    lambda x, w, b: layer_norm(x, w, b, (-1, -2)), normal(2, 3, 4), normal(3, 4), normal(3, 4), rtol=1e-11)
add("layer-norm-naive", "rsqrt", ops.layer_norm_naive, layer_norm, normal(3, 4), normal(4), normal(4), rtol=1e-11)
add("rms-norm", "rms_norm", lambda x, w: ops.rms_norm(x, 4, w, eps=1e-5), rms_norm, normal(2, 3, 4), normal(4),
    empty=((0, 4), (4,)), rtol=1e-11)
add("rms-norm-plain", "rms_norm", lambda x: ops.rms_norm(x, 4, eps=1e-5), rms_norm, normal(3, 4),
    awkward=([np.zeros((2, 4))],), rtol=1e-11)
add("rms-norm-naive", "rsqrt", ops.rms_norm_naive, rms_norm, normal(3, 4), normal(4), rtol=1e-11)
_t = np.array([1, -100, 4, 0])
for _smoothing in (0.0, 0.1):
    add(f"cross-entropy-{_smoothing}", "cross_entropy",
        lambda x, s=_smoothing: ops.cross_entropy(x, _t, reduction="none", label_smoothing=s),
        lambda x, s=_smoothing: cross_entropy(x, _t, smoothing=s), normal(4, 5), rtol=1e-11)
    add(f"cross-entropy-mean-{_smoothing}", "cross_entropy sum",
        lambda x, s=_smoothing: ops.cross_entropy(x, _t, label_smoothing=s),
        lambda x, s=_smoothing: cross_entropy(x, _t, smoothing=s).sum() / 3, normal(4, 5), rtol=1e-11)
add("cross-entropy-naive", "gather", lambda x: ops.cross_entropy_naive(x, np.abs(_t) % 5),
    lambda x: cross_entropy(x, np.abs(_t) % 5).mean(), distinct(4, 5), rtol=1e-11)
add("nll-loss", "gather", lambda x: ops.nll_loss(x, _t, reduction="sum"), lambda x: -(x[0, 1] + x[2, 4] + x[3, 0]),
    normal(4, 5))
add("mse-loss", "sub square mean", ops.mse_loss, lambda a, b: ((a - b) ** 2).mean(), normal(3, 4), normal(3, 4))

_att = "scaled_dot_product_attention"
_qkv = normal(2, 3, 5, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 7)
_causal = np.arange(6)[None] <= np.arange(5)[:, None]
_bias = np.linspace(-2, 2, 30).reshape(5, 6)
_holes = mask(5, 6) & (np.arange(5) != 2)[:, None]
add("attention", _att, ops.scaled_dot_product_attention, attention, *_qkv,
    empty=((0, 3, 5, 4), (0, 3, 6, 4), (0, 3, 6, 7)), rtol=1e-11)
add("attention-no-queries", _att, ops.scaled_dot_product_attention, attention, *_qkv,
    empty=((2, 3, 0, 4), (2, 3, 6, 4), (2, 3, 6, 7)), rtol=1e-11)
add("attention-no-keys", _att, ops.scaled_dot_product_attention, lambda q, k, v: attention(q, k, v) if k.size else
    np.zeros((*q.shape[:-1], v.shape[-1])), *_qkv, empty=((2, 3, 5, 4), (2, 3, 0, 4), (2, 3, 0, 7)), rtol=1e-11)
add("attention-causal", _att, lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda q, k, v: attention(q, k, v, _causal), *_qkv, rtol=1e-11)
add("attention-offset", _att,
    lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True, causal_offset=1),
    lambda q, k, v: attention(q, k, v, np.arange(6)[None] <= np.arange(5)[:, None] + 1), *_qkv, rtol=1e-11)
add("attention-nothing-visible", _att,
    lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True, causal_offset=-2),
    lambda q, k, v: attention(q, k, v, np.arange(6)[None] <= np.arange(5)[:, None] - 2), *_qkv, rtol=1e-11)
add("attention-mask", _att, lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, mg.tensor(_holes)),
    lambda q, k, v: attention(q, k, v, _holes), *_qkv, rtol=1e-11)
add("attention-bias", _att,
    lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, mg.tensor(_bias, dtype=q.dtype), scale=0.3),
    lambda q, k, v: attention(q, k, v, additive=_bias, scale=0.3), *_qkv, rtol=1e-11)
add("attention-shared-head", _att, ops.scaled_dot_product_attention, attention, normal(2, 3, 5, 4), normal(2, 1, 6, 4),
    normal(6, 7), rtol=1e-11)
add("attention-2d", _att, ops.scaled_dot_product_attention, attention, normal(5, 4), normal(6, 4), normal(6, 3),
    rtol=1e-11)
add("attention-naive", "matmul", lambda q, k, v: ops.attention_naive(q, k, v, mg.tensor(_causal)),
    lambda q, k, v: attention(q, k, v, _causal), *_qkv, rtol=1e-11)
add("attention-dropout", _att, seeded(lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, dropout_p=0.4)),
    lambda q, k, v: softmax(q @ k.swapaxes(-1, -2) / 2, -1) * (np.random.default_rng(5).random(
        (2, 3, 5, 6), dtype=np.float32) >= 0.4) / 0.6 @ v, *_qkv, rtol=1e-6)

CASES = TABLE.cases
