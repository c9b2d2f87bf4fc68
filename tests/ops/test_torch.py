"""Every public operation beside PyTorch's: values and gradients, arguments and conventions.

float64 to 1e-10; float32 to 1e-5 of each array's largest element (sums in another order lose digits of the largest
terms, not of each result).
"""
from __future__ import annotations

import inspect

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.nn import functional as F
from tests.helpers import close, host

torch = pytest.importorskip("torch")
TF = torch.nn.functional

pytestmark = pytest.mark.oracle


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def positive(*shape):
    return lambda rng: rng.uniform(0.2, 3.0, shape)


def exactly(values):
    return lambda rng: np.array(values, dtype=np.float64)


CASES = []


def same(name, mine, theirs, *samplers, id=""):
    """One comparison: `mine` and `theirs` take the tensors that the samplers make."""
    CASES.append(pytest.param(mine, theirs, samplers, id=f"{name}{'-' if id else ''}{id}", marks=()))
    TESTED.add(name)


TESTED = set()

x34, x234 = normal(3, 4), normal(2, 3, 4)
WITH_ZERO = exactly([[0.0, -1.0, 2.0, 0.5], [1.0, -1.0, 0.0, -0.0], [3.0, -3.0, 0.25, -0.25]])
TIES = exactly([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-1.0, -2.0, -1.0, -1.0]])
TIES_TOO = exactly([[1.0, 3.0, 0.0, 5.0], [0.0, -1.0, 0.0, 1.0], [-1.0, -2.0, -1.5, -1.0]])

# ---- scalars have dims 0 and −1 -------------------------------------------------------------------------------------

for dim in (0, -1):
    for name in ("sum", "mean", "amax", "amin", "prod", "cumsum", "logsumexp", "softmax", "log_softmax", "squeeze", "flip"):
        fn = {"flip": lambda lib, d: lambda x: lib.flip(x, (d,))}.get(name, lambda lib, d, n=name: lambda x: getattr(lib, n)(x, d))
        same(name, fn(mg, dim), fn(torch, dim), exactly(-1.5), id=f"0d{dim}")
    same("max", lambda x, d=dim: mg.max(x, d)[0], lambda x, d=dim: torch.max(x, d)[0], exactly(-1.5), id=f"0d{dim}")
    same("transpose", lambda x, d=dim: mg.transpose(x, d, 0), lambda x, d=dim: torch.transpose(x, d, 0), exactly(-1.5), id=f"0d{dim}")
    same("var", lambda x, d=dim: mg.var(x, d, correction=0), lambda x, d=dim: torch.var(x, d, correction=0), exactly(-1.5), id=f"0d{dim}")

# ---- elementwise ----------------------------------------------------------------------------------------------------

for name in ("add", "sub", "mul", "div", "maximum", "minimum"):
    t = getattr(torch, name)
    same(name, getattr(mg, name), t, x34, x34)
    same(name, getattr(mg, name), t, normal(2, 1, 4), normal(3, 1), id="broadcast")
    same(name, getattr(mg, name), t, x34, exactly(0.5), id="0d")
    if "imum" in name:
        same(name, getattr(mg, name), t, TIES, TIES_TOO, id="ties")
same("add", lambda x: 2 + x * 3 - 1, lambda x: 2 + x * 3 - 1, x34, id="numbers")
same("div", lambda x: 2 / x / 3, lambda x: 2 / x / 3, positive(3, 4), id="numbers")
same("sub", lambda x: 1 - x, lambda x: 1 - x, x34, id="number-first")
same("neg", mg.neg, torch.neg, x34)
for b in (2, 3, 0, 0.5, -1, -0.5, 1):
    same("pow", lambda x, b=b: x**b, lambda x, b=b: x**b, positive(3, 4), id=f"to-{b}")
same("pow", lambda x: x**3, lambda x: x**3, WITH_ZERO, id="cube-at-0")
same("pow", lambda x: x**0, lambda x: x**0, WITH_ZERO, id="zero-at-0")
same("pow", lambda x: 2.5**x, lambda x: 2.5**x, x34, id="of-number")
same("pow", mg.pow, torch.pow, positive(3, 4), normal(4), id="both")
same("pow", mg.pow, torch.pow, exactly([0.0, 0.0, 0.0]), exactly([0.0, 1.0, 2.5]), id="of-0")
for name in ("exp", "expm1", "sin", "cos", "tanh", "sigmoid", "erf", "abs", "square", "relu"):
    same(name, getattr(mg, name), getattr(torch, name), x34)
    same(name, getattr(mg, name), getattr(torch, name), WITH_ZERO, id="at-0")
for name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal"):
    same(name, getattr(mg, name), getattr(torch, name), positive(3, 4))
same("silu", mg.silu, TF.silu, x34)
same("silu", mg.silu, TF.silu, exactly([0.0, 60.0, -60.0, 1e4, -1e4]), id="far")
same("sigmoid", mg.sigmoid, torch.sigmoid, exactly([0.0, 30.0, -30.0, 1e4, -1e4]), id="far")
same("erf", mg.erf, torch.erf, exactly([-6.0, -4.0, -2.0, -0.46875, 1e-8, 0.2, 0.46875, 0.5, 1.0, 3.99, 4.0, 5.0, 30.0]),
     id="all-branches")
for form in ("none", "tanh"):
    same("gelu", lambda x, f=form: mg.gelu(x, approximate=f), lambda x, f=form: TF.gelu(x, approximate=f), x34, id=form)
    same("gelu", lambda x, f=form: mg.gelu(x, f), lambda x, f=form: TF.gelu(x, approximate=f),
         exactly([0.0, -8.0, 8.0, -1e4, 1e4]), id=f"{form}-far")
for beta in (1.0, 2.5, 0.3):
    same("softplus", lambda x, b=beta: F.softplus(x, b), lambda x, b=beta: TF.softplus(x, b), x34, id=f"beta={beta}")
same("softplus", F.softplus, TF.softplus, exactly([0.0, 19.0, -50.0, 1e4, -1e4]), id="far")
same("where", lambda a, b: mg.where(mg.tensor(np.eye(3, 4) > 0), a, b),
     lambda a, b: torch.where(torch.eye(3, 4) > 0, a, b), x34, normal(4))
same("where", lambda a: mg.where(mg.tensor(np.eye(3, 4) > 0), 1.5, a),
     lambda a: torch.where(torch.eye(3, 4) > 0, 1.5, a), x34, id="number")
same("masked_fill", lambda x: x.masked_fill(mg.tensor([True, False, True, False]), -2.0),
     lambda x: x.masked_fill(torch.tensor([True, False, True, False]), -2.0), x34)
BORDERS = exactly([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
for low, high in ((-1.0, 1.0), (None, 0.5), (0.0, None), (1.0, -1.0)):
    same("clamp", lambda x, a=low, b=high: x.clamp(a, b), lambda x, a=low, b=high: x.clamp(a, b), BORDERS,
         id=f"{low}-{high}")
same("clip", lambda x: mg.clip(x, min=-1), lambda x: torch.clip(x, min=-1), BORDERS)

# ---- reductions -----------------------------------------------------------------------------------------------------

for dim in (None, 0, -1, (0, 2), (-2, -1)):
    for keep in (False, True):
        o = {} if dim is None and not keep else {"dim": dim, "keepdim": keep}
        label = f"{dim}{'-keep' if keep else ''}"
        for name in ("sum", "mean"):
            same(name, lambda x, n=name, o=o: getattr(x, n)(**o), lambda x, n=name, o=o: getattr(x, n)(**o), x234, id=label)
        for name in ("amax", "amin"):
            t = {"dim": () if dim is None else dim, "keepdim": keep}
            same(name, lambda x, n=name, o=o: getattr(x, n)(**o), lambda x, n=name, t=t: getattr(x, n)(**t), x234, id=label)
        for c in (0, 1, 2):
            v = {"dim": dim, "keepdim": keep, "correction": c}
            same("var", lambda x, v=v: x.var(**v), lambda x, v=v: x.var(**v), normal(4, 3, 5), id=f"{label}-c{c}")
            same("std", lambda x, v=v: x.std(**v), lambda x, v=v: x.std(**v), normal(4, 3, 5), id=f"{label}-c{c}")
        same("norm", lambda x, d=dim, k=keep: mg.norm(x, dim=d, keepdim=k),
             lambda x, d=dim, k=keep: torch.linalg.vector_norm(x, dim=d, keepdim=k), x234, id=label)
        if dim is not None:
            same("logsumexp", lambda x, d=dim, k=keep: x.logsumexp(d, k), lambda x, d=dim, k=keep: x.logsumexp(d, k),
                 x234, id=label)
        if isinstance(dim, int):
            for name in ("max", "min"):
                same(name, lambda x, n=name, o=o: getattr(x, n)(**o)[0], lambda x, n=name, o=o: getattr(x, n)(**o)[0], x234,
                     id=label)
            same("prod", lambda x, o=o: x.prod(**o), lambda x, o=o: x.prod(**o), x234, id=label)
for name in ("max", "min"):
    same(name, lambda x, n=name: getattr(mg, n)(x), lambda x, n=name: getattr(torch, n)(x), TIES, id="ties-full")
    for dim in (0, 1, -1):
        same(name, lambda x, n=name, d=dim: getattr(mg, n)(x, d)[0], lambda x, n=name, d=dim: getattr(torch, n)(x, d)[0],
             TIES, id=f"ties-{dim}")
for name in ("amax", "amin"):
    same(name, lambda x, n=name: getattr(mg, n)(x, 1), lambda x, n=name: getattr(torch, n)(x, 1), TIES, id="ties")
same("std", lambda x: mg.std(x, 1), lambda x: torch.std(x, 1), exactly([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]), id="constant-row")
same("prod", lambda x: x.prod(), lambda x: x.prod(), x34)
ZEROS = exactly([[0.0, 2.0, 3.0, 4.0], [0.0, 0.0, 2.0, 5.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
same("prod", lambda x: x.prod(1), lambda x: x.prod(1), ZEROS, id="zeros")
same("prod", lambda x: x.prod(), lambda x: x.prod(), exactly([[0.0, 2.0], [3.0, 4.0]]), id="one-zero")
for dim in (0, 1, -1):
    same("cumsum", lambda x, d=dim: x.cumsum(d), lambda x, d=dim: x.cumsum(d), x234, id=str(dim))
same("logsumexp", lambda x: mg.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1),
     exactly([[-np.inf, 1.0, 2.0], [0.0, -np.inf, -np.inf], [1e4, -1e4, 1e4]]), id="minus-inf")
same("norm", lambda x: x.norm(), lambda x: x.norm(), exactly(np.zeros((2, 3))), id="at-0")
same("norm", lambda x: x.norm(2, 1), lambda x: x.norm(2, 1), x34, id="order-then-dim")
same("normalize", lambda x: F.normalize(x, dim=-1), lambda x: TF.normalize(x, dim=-1), x234)
same("normalize", F.normalize, TF.normalize, exactly([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]), id="zero-row")

# ---- shapes ---------------------------------------------------------------------------------------------------------

same("split_heads", lambda x: F.split_heads(x, 2), lambda x: x.view(3, 5, 2, 4).transpose(1, 2), normal(3, 5, 8))
same("merge_heads", F.merge_heads, lambda x: x.transpose(1, 2).reshape(3, 5, 8), normal(3, 2, 5, 4))
for name, call, samplers in (
    ("reshape", lambda x: x.reshape(4, -1), [x234]), ("view", lambda x: x.view((6, 4)), [x234]),
    ("permute", lambda x: x.permute(-1, 0, 1), [x234]), ("permute", lambda x: x.permute((1, 2, 0)), [x234]),
    ("transpose", lambda x: x.transpose(0, -1), [x234]), ("swapaxes", lambda x: x.swapaxes(1, 2), [x234]),
    ("transpose", lambda x: x.mT, [x234]), ("permute", lambda x: x.T, [x34]),
    ("expand", lambda x: x.expand(2, -1, 4), [normal(3, 1)]), ("expand", lambda x: x.expand((5, 3)), [normal(3)]),
    ("squeeze", lambda x: x.squeeze(), [normal(1, 3, 1)]), ("squeeze", lambda x: x.squeeze(-1), [normal(1, 3, 1)]),
    ("squeeze", lambda x: x.squeeze(1), [normal(1, 3, 1)]), ("squeeze", lambda x: x.squeeze((0, 2)), [normal(1, 3, 1)]),
    ("unsqueeze", lambda x: x.unsqueeze(-1), [x34]), ("unsqueeze", lambda x: x.unsqueeze(1), [x34]),
    ("flatten", lambda x: x.flatten(), [x234]), ("flatten", lambda x: x.flatten(1), [x234]),
    ("flatten", lambda x: x.flatten(0, -2), [x234]), ("flatten", lambda x: x.flatten(), [exactly(2.0)]),
    ("flip", lambda x: x.flip(0), [x234]), ("flip", lambda x: x.flip(-1, 0), [x234]),
    ("flip", lambda x: x.flip((1, 2)), [x234]),
    ("tril", lambda x: x.tril(), [x34]), ("tril", lambda x: x.tril(1), [x234]), ("tril", lambda x: x.tril(-1), [x34]),
    ("triu", lambda x: x.triu(), [x234]), ("triu", lambda x: x.triu(diagonal=-2), [x34]),
    ("split", lambda x: x.split(2, dim=-1)[1] * 2, [normal(2, 5)]), ("split", lambda x: x.split(3)[1], [normal(5, 2)]),
    ("split", lambda x: x.split([1, 4], dim=1)[1], [normal(2, 5)]),
    ("chunk", lambda x: x.chunk(3, dim=-1)[2], [normal(2, 7)]), ("chunk", lambda x: x.chunk(2)[0], [normal(5, 2)]),
):
    same(name, call, call, *samplers, id=str(len(CASES)))
for dim in (0, 1, -1):
    same("cat", lambda a, b, d=dim: mg.cat([a, b, a], dim=d), lambda a, b, d=dim: torch.cat([a, b, a], dim=d), x34, x34,
         id=str(dim))
    same("concatenate", lambda a, b, d=dim: mg.concatenate((a, b), d), lambda a, b, d=dim: torch.concatenate((a, b), d),
         x34, x34, id=str(dim))
    same("stack", lambda a, b, d=dim: mg.stack([a, b], dim=d), lambda a, b, d=dim: torch.stack([a, b], dim=d), x34, x34,
         id=str(dim))
for widths in ((1, 2), (1, 0, 0, 3), (1, 2, 3, 4, 0, 1)):
    same("pad", lambda x, w=widths: F.pad(x, w, value=1.5), lambda x, w=widths: TF.pad(x, w, value=1.5), x234, id=str(widths))

# ---- picking --------------------------------------------------------------------------------------------------------

IDS = np.array([[2, 0, 2], [1, 2, 2]])
for key in (1, -2, slice(None, None, 2), (slice(1, None), 2), (..., None, 1), (None, 0), [0, 2, 0], ([0, 1, 0], [2, 2, 2]),
            (slice(None), [1, 0, 1]), ([0, 1], slice(None), [3, 3]), [-1, 0]):
    same("getitem", lambda x, k=key: x[k], lambda x, k=key: x[k], normal(3, 4, 5), id=str(key))
same("getitem", lambda x: x[mg.tensor(IDS)], lambda x: x[torch.tensor(IDS)], x34, id="tensor")
same("getitem", lambda x: x[x.detach() > 0], lambda x: x[x.detach() > 0], x34, id="mask")
same("getitem", lambda x: x[:, mg.tensor([True, False, True])], lambda x: x[:, torch.tensor([True, False, True])], x234,
     id="mask-second")
same("gather", lambda x: mg.gather(x, 0, mg.tensor(IDS)), lambda x: torch.gather(x, 0, torch.tensor(IDS)), x34)
same("gather", lambda x: x.gather(-1, mg.tensor(IDS)), lambda x: x.gather(-1, torch.tensor(IDS)), x34, id="last")
same("index_select", lambda x: x.index_select(-1, mg.tensor([3, 3, 0])),
     lambda x: x.index_select(-1, torch.tensor([3, 3, 0])), x34)
same("embedding", lambda w: F.embedding(IDS, w), lambda w: TF.embedding(torch.tensor(IDS), w), x34)

# ---- products and normalizations ------------------------------------------------------------------------------------

for a, b in (((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((3, 4), (4, 5)), ((2, 3, 4), (4,)), ((2, 3, 4), (4, 5)),
             ((4,), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
             ((7, 1, 3, 4), (1, 2, 4, 3))):
    same("matmul", lambda x, y: x @ y, lambda x, y: x @ y, normal(*a), normal(*b), id=f"{a}{b}")
same("linear", F.linear, TF.linear, x234, normal(5, 4), normal(5))
same("linear", F.linear, TF.linear, normal(4), normal(5, 4), id="row")
same("low_rank_linear", lambda x, w, b, A, B: F.low_rank_linear(x, w, b, A, B, 0.3),
     lambda x, w, b, A, B: TF.linear(x, w, b) + TF.linear(TF.linear(x, A), B) * 0.3, x234, normal(5, 4), normal(5), normal(2, 4),
     normal(5, 2))
for dim in (0, 1, -1):
    same("softmax", lambda x, d=dim: F.softmax(x, d), lambda x, d=dim: TF.softmax(x, d), x234, id=str(dim))
    same("log_softmax", lambda x, d=dim: F.log_softmax(x, d), lambda x, d=dim: TF.log_softmax(x, d), x234, id=str(dim))
FAR = exactly([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3.0, 1e4, 1e4]])
same("softmax", lambda x: x.softmax(-1), lambda x: x.softmax(-1), FAR, id="far")
same("log_softmax", lambda x: x.log_softmax(-1), lambda x: x.log_softmax(-1), FAR, id="far")
same("softmax", lambda x: x.softmax(-1), lambda x: x.softmax(-1), exactly([[-np.inf, 0.0, 1.0]]), id="minus-inf")
same("layer_norm", lambda x, w, b: F.layer_norm(x, 4, w, b), lambda x, w, b: TF.layer_norm(x, (4,), w, b), x234,
     normal(4), normal(4))
same("layer_norm", lambda x, w, b: F.layer_norm(x, (3, 4), w, b, 1e-3), lambda x, w, b: TF.layer_norm(x, (3, 4), w, b, 1e-3),
     x234, x34, x34, id="two-dims")
same("layer_norm", lambda x, w: F.layer_norm(x, (4,), w), lambda x, w: TF.layer_norm(x, (4,), w), x234, normal(4), id="no-bias")
same("layer_norm", lambda x: F.layer_norm(x, (4,)), lambda x: TF.layer_norm(x, (4,)), x234, id="plain")
same("rms_norm", lambda x, w: F.rms_norm(x, 4, w), lambda x, w: TF.rms_norm(x, (4,), w), x234, normal(4))
same("rms_norm", lambda x, w: F.rms_norm(x, (3, 4), w, eps=1e-3), lambda x, w: TF.rms_norm(x, (3, 4), w, eps=1e-3), x234, x34,
     id="two-dims")
same("rms_norm", lambda x: F.rms_norm(x, 4), lambda x: TF.rms_norm(x, (4,)), x234, id="plain")
same("dropout", lambda x: F.dropout(x, 0.5, training=False), lambda x: TF.dropout(x, 0.5, training=False), x34, id="off")
same("dropout", lambda x: F.dropout(x, 0.0), lambda x: TF.dropout(x, 0.0), x34, id="p=0")

# ---- attention ------------------------------------------------------------------------------------------------------

SDPA = "scaled_dot_product_attention"
qkv = normal(2, 3, 5, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 7)
HOLES = (np.arange(30).reshape(5, 6) % 4 != 1)
EMPTY_ROW = HOLES & (np.arange(5) != 3)[:, None]
BIAS = np.linspace(-3, 3, 30).reshape(5, 6)


def attend(samplers=qkv, id="", mask=None, **options):
    def mine(q, k, v):
        m = None if mask is None else mg.tensor(mask) if mask.dtype == bool else mg.tensor(mask, dtype=q.dtype)
        return F.scaled_dot_product_attention(q, k, v, m, **options)

    def theirs(q, k, v):
        m = None if mask is None else torch.tensor(mask) if mask.dtype == bool else torch.tensor(mask, dtype=q.dtype)
        return TF.scaled_dot_product_attention(q, k, v, m, **options)

    same(SDPA, mine, theirs, *samplers, id=id)


attend()
attend(id="causal-square", samplers=(normal(2, 3, 5, 4),) * 3, is_causal=True)
attend(id="causal-more-keys", is_causal=True)
attend(id="causal-more-queries", samplers=(normal(2, 6, 4), normal(2, 3, 4), normal(2, 3, 4)), is_causal=True)
attend(id="scale", scale=0.7)
attend(id="dropout-off", dropout_p=0.0)
attend(id="bool-mask", mask=HOLES)
attend(id="bool-mask-heads", mask=np.stack([HOLES, HOLES[::-1], ~HOLES]))
attend(id="bias", mask=BIAS)
attend(id="bias-minus-inf", mask=np.where(HOLES, BIAS, -np.inf))
attend(id="bias-lowest", mask=np.where(HOLES, 0.0, -1e30))
attend(id="batch-of-one", samplers=(normal(2, 3, 5, 4), normal(1, 3, 6, 4), normal(1, 3, 6, 7)))
attend(id="shared-head", samplers=(normal(2, 3, 5, 4), normal(2, 1, 6, 4), normal(2, 1, 6, 7)))
attend(id="fully-masked-row", mask=EMPTY_ROW)

# ---- losses ---------------------------------------------------------------------------------------------------------

T4, T43 = np.array([1, 4, -100, 0]), np.array([[1, 4, 0], [2, -100, 1], [0, 0, 3], [4, 4, 2]])
for reduction in ("mean", "sum", "none"):
    for eps in (0.0, 0.1, 1.0):
        for label, shape, target in (("NC", (4, 5), T4), ("C", (5,), np.array(3)), ("NCd", (4, 5, 3), T43)):
            o = {"reduction": reduction, "label_smoothing": eps}
            same("cross_entropy", lambda x, t=target, o=o: F.cross_entropy(x, t, **o),
                 lambda x, t=target, o=o: TF.cross_entropy(x, torch.tensor(t), **o), normal(*shape),
                 id=f"{label}-{reduction}-{eps}")
    for label, shape, target in (("NC", (4, 5), T4), ("C", (5,), np.array(3)), ("NCd", (4, 5, 3), T43)):
        same("nll_loss", lambda x, t=target, r=reduction: F.nll_loss(x, t, reduction=r),
             lambda x, t=target, r=reduction: TF.nll_loss(x, torch.tensor(t), reduction=r), normal(*shape),
             id=f"{label}-{reduction}")
    same("mse_loss", lambda a, b, r=reduction: F.mse_loss(a, b, reduction=r),
         lambda a, b, r=reduction: TF.mse_loss(a, b, reduction=r), x34, x34, id=reduction)
same("cross_entropy", lambda x: F.cross_entropy(x, [1, 2, 1, 0], ignore_index=1),
     lambda x: TF.cross_entropy(x, torch.tensor([1, 2, 1, 0]), ignore_index=1), normal(4, 5), id="ignore-a-class")
same("cross_entropy", lambda x: F.cross_entropy(x, [0, 0, 2], reduction="none"),
     lambda x: TF.cross_entropy(x, torch.tensor([0, 0, 2]), reduction="none"), FAR, id="far")
same("nll_loss", lambda x: F.nll_loss(x, [1, 2], ignore_index=2, reduction="none"),
     lambda x: TF.nll_loss(x, torch.tensor([1, 2]), ignore_index=2, reduction="none"),
     exactly([[-1.0, -2.0, -0.5], [-np.inf, -1.0, -0.5]]), id="ignored-row-of-minus-inf")


# ---- the comparison -------------------------------------------------------------------------------------------------


def agree(actual, expected, dtype):
    a, e = host(actual), host(expected)
    finite = np.abs(e[np.isfinite(e)])
    largest = finite.max() if finite.size else 0.0
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    close(a, e, rtol=tolerance, atol=tolerance * largest + 1e-300, dtype=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("mine", "theirs", "samplers"), CASES)
def test_value_and_gradients_are_pytorchs(backend, mine, theirs, samplers, dtype):
    rng = np.random.default_rng(7)
    arrays = [np.asarray(sampler(rng)).astype(dtype) for sampler in samplers]
    xs = [mg.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = mine(*xs), theirs(*ts)
    agree(y, z, dtype)
    seed = rng.standard_normal(y.shape).astype(dtype)
    y.backward(y.backend.send(seed))
    z.backward(torch.tensor(seed))
    for x, t in zip(xs, ts, strict=True):
        agree(x.grad, t.grad, dtype)


def test_every_public_operation_is_compared():
    public = {name for name, f in vars(ops).items() if inspect.isfunction(f) and not name.startswith("_")}
    no_gradient = {"zeros", "ones", "full", "arange", "rand", "randn", "zeros_like", "ones_like", "from_numpy", "argmax"}
    naive = {name for name in public if name.endswith("_naive")}
    assert public - no_gradient - naive == TESTED & public
    assert len(TESTED) > 70


# ---- what is no gradient: indices, dtypes, conventions ----------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_indices_of_the_extremes_are_pytorchs(backend, dim, keepdim):
    a = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.5, -1.0, -1.0], [-1.0, -2.0, -1.0, -1.0]])
    for name in ("max", "min"):
        values, indices = getattr(mg.tensor(a), name)(dim, keepdim)
        expected = getattr(torch.tensor(a), name)(dim, keepdim)
        close(values, expected[0])
        close(indices, expected[1], dtype=True)
    close(mg.tensor(a).argmax(dim, keepdim), torch.tensor(a).argmax(dim, keepdim))
    close(mg.argmax(mg.tensor(a)), torch.tensor(a).argmax())


NUMBERS = (("python int", 3), ("python float", 2.5), ("python bool", True))
TENSORS = tuple((f"{kind} {d}-d", np.full((2,) * d, 2, dtype=kind)) for kind in
                ("bool", "int64", "int32", "float16", "float32", "float64") for d in (0, 1))


@pytest.mark.parametrize("left", TENSORS, ids=lambda p: p[0])
@pytest.mark.parametrize("right", TENSORS + NUMBERS, ids=lambda p: p[0])
def test_types_meet_as_in_pytorch(backend, left, right):
    a, b = left[1], right[1]
    number = not isinstance(b, np.ndarray)
    for name, op in (("+", lambda p, q: p + q), ("*", lambda p, q: p * q), ("/", lambda p, q: p / q),
                     ("where", None), ("maximum", None)):
        if name == "where":
            if number:
                continue
            mine = mg.where(mg.tensor([True, False]), mg.tensor(a), mg.tensor(b))
            theirs = torch.where(torch.tensor([True, False]), torch.tensor(a), torch.tensor(b))
        elif name == "maximum":
            if number:
                continue
            mine, theirs = mg.maximum(mg.tensor(a), mg.tensor(b)), torch.maximum(torch.tensor(a), torch.tensor(b))
        else:
            mine = op(mg.tensor(a), b if number else mg.tensor(b))
            theirs = op(torch.tensor(a), b if number else torch.tensor(b))
        assert mine.dtype.name == str(theirs.dtype).removeprefix("torch."), f"{left[0]} {name} {right[0]}"
        close(mine, theirs, rtol=1e-3)


@pytest.mark.parametrize("op", ["exp", "sqrt", "sigmoid", "log1p", "mean"])
@pytest.mark.parametrize("dtype", ["bool", "int64", "int32"])
def test_integers_become_float32(backend, op, dtype):
    x = mg.tensor(np.array([1, 0, 1], dtype=dtype))
    assert getattr(mg, op)(x).dtype == np.float32


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_sums_of_integers_are_int64(backend, dtype):
    a = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)
    for name in ("sum", "prod"):
        close(getattr(mg, name)(mg.tensor(a)), getattr(torch, name)(torch.tensor(a)), dtype=True)
    close(mg.cumsum(mg.tensor(a), 1), torch.cumsum(torch.tensor(a), 1), dtype=True)


def test_splits_and_chunks_have_pytorchs_sizes(backend):
    for n in (1, 4, 5, 7):
        x, t = mg.zeros(n, 2), torch.zeros(n, 2)
        for k in (1, 2, 3, 9):
            assert [p.shape for p in x.split(k)] == [tuple(p.shape) for p in t.split(k)]
            assert [p.shape for p in x.chunk(k)] == [tuple(p.shape) for p in t.chunk(k)]


def test_arange_and_full_like_pytorch(backend):
    for args in ((5,), (2, 7), (1, 10, 3), (0.0, 1.0, 0.25), (5, 0, -2)):
        close(mg.arange(*args), torch.arange(*args), dtype=True)
    close(mg.full((2, 3), 1.5), torch.full((2, 3), 1.5), dtype=True)


def test_comparisons_are_pytorchs(backend):
    a, b = np.array([[1.0, 2.0, np.nan]]), np.array([[1.0], [2.0]])
    for op in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
        close(getattr(mg.tensor(a), op)(mg.tensor(b)), getattr(torch.tensor(a), op)(torch.tensor(b)), dtype=True)
        close(getattr(mg.tensor(a), op)(2), getattr(torch.tensor(a), op)(2), dtype=True)
