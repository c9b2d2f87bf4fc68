"""Numbers at the edge, batches of nothing, and what a mistake is answered with."""
from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from tests.helpers import close, host

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
HUGE = [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [-1e4, 1e4, 0.0]]


def leaf(data, dtype="float32"):
    return mg.tensor(data, dtype=dtype, requires_grad=True)


def finite(*arrays):
    return all(np.isfinite(host(a)).all() for a in arrays)


# ---- large logits ---------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("op", [
    lambda x: F.softmax(x, -1), lambda x: F.log_softmax(x, 0), lambda x: x.logsumexp(1), lambda x: x.logsumexp((0, 1)),
    F.sigmoid, F.silu, F.softplus, mg.tanh, lambda x: F.gelu(x, approximate="tanh"), F.gelu, mg.erf, F.normalize,
    lambda x: F.layer_norm(x, 3), lambda x: F.rms_norm(x, 3), lambda x: F.cross_entropy(x, [0, 1, 2, 0]),
    lambda x: F.cross_entropy(x, [1, -100, 0, 0], label_smoothing=0.1), lambda x: F.softmax_naive(x, -1),
    lambda x: F.scaled_dot_product_attention(x, x, x), lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
], ids=["softmax", "log_softmax", "logsumexp", "logsumexp-all", "sigmoid", "silu", "softplus", "tanh", "gelu-tanh", "gelu",
        "erf", "normalize", "layer_norm", "rms_norm", "cross_entropy", "cross_entropy-smooth", "softmax_naive", "attention",
        "attention-causal"])
def test_huge_inputs_give_finite_values_and_gradients(backend, op, dtype):
    x = leaf(HUGE, dtype)
    y = op(x)
    y.sum().backward()
    assert finite(y, x.grad)
    assert y.dtype == x.grad.dtype == np.dtype(dtype)


@DTYPES
def test_cross_entropy_is_exact_for_huge_logits(backend, dtype):
    """Certain and right costs 0, certain and wrong costs the gap; the gradient is p − onehot."""
    x = leaf([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype)
    y = F.cross_entropy(x, [0, 1], reduction="none")
    close(y, np.array([0.0, 2e4], dtype))
    y.sum().backward()
    close(x.grad, np.array([[0, 0, 0], [1, -1, 0]], dtype))


def test_softmax_gradients_where_softmax_saturates(backend):
    x = leaf([[1e4, 0.0], [88.0, -88.0]])
    F.log_softmax(x, -1)[:, 1].sum().backward()
    close(x.grad, np.array([[-1, 1], [-1, 1]], np.float32))


def test_logsumexp_of_nothing_but_minus_infinity(backend):
    x = mg.tensor([[-np.inf, -np.inf], [0.0, -np.inf]], dtype="float32")
    close(x.logsumexp(1), np.array([-np.inf, 0.0], np.float32))
    close(mg.tensor([np.inf, -np.inf]).logsumexp(0), np.array(np.inf, np.float32))


# ---- masks ----------------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("kind", ["boolean", "additive", "causal", "both"])
def test_a_query_that_sees_nothing_gives_zero_and_no_gradient(backend, kind, dtype):
    rng = np.random.default_rng(0)
    q, k, v = (leaf(rng.standard_normal((2, 3, 4)), dtype) for _ in range(3))
    visible = np.array([[True, True, False], [False, False, False], [True, False, True]])
    options = {"boolean": {"attn_mask": mg.tensor(visible)},
               "additive": {"attn_mask": mg.tensor(np.where(visible, 0.0, -np.inf), dtype=dtype)},
               "causal": {"is_causal": True, "causal_offset": -1},
               "both": {"attn_mask": mg.tensor(~visible), "is_causal": True}}[kind]
    y = F.scaled_dot_product_attention(q, k, v, **options)
    dark = {"causal": 0, "both": 0}.get(kind, 1)
    assert (host(y)[:, dark] == 0).all()
    y.sum().backward()
    assert finite(y, q.grad, k.grad, v.grad)
    assert (host(q.grad)[:, dark] == 0).all() and host(q.grad).any()


def test_everything_masked_everywhere(backend):
    q = leaf(np.ones((2, 3, 4)))
    y = F.scaled_dot_product_attention(q, q, q, mg.tensor(np.zeros((3, 3), bool)))
    y.sum().backward()
    assert (host(y) == 0).all() and (host(q.grad) == 0).all()


def test_masked_scores_through_softmax(backend):
    """The naive way, with the lowest float32 instead of −inf, survives a row in which everything is masked."""
    x = leaf(np.ones((2, 3)))
    hidden = mg.tensor([[True, False, True], [True, True, True]])
    y = F.softmax(x.masked_fill(hidden, float(np.finfo(np.float32).min)), -1)
    close(y, np.array([[0, 1, 0], [1 / 3] * 3], np.float32))
    (y * y).sum().backward()
    assert finite(x.grad) and (host(x.grad) == 0).all()


# ---- nothing --------------------------------------------------------------------------------------------------------


def test_an_empty_batch_through_a_block(backend):
    x = leaf(np.zeros((0, 5, 4)))
    w, b = leaf(np.ones((4, 4))), leaf(np.ones(4))
    h = F.gelu(F.linear(F.layer_norm(x, 4, b, b), w, b), approximate="tanh")
    y = F.scaled_dot_product_attention(h, h, h, is_causal=True) + x
    y.sum().backward()
    assert x.grad.shape == (0, 5, 4) and y.shape == (0, 5, 4)
    close(w.grad, np.zeros((4, 4), np.float32))
    close(b.grad, np.zeros(4, np.float32))


def test_an_empty_batch_has_no_average_loss(backend):
    with pytest.raises(ValueError, match="every target is ignored .* or the batch is empty"):
        F.cross_entropy(mg.zeros(0, 5), np.zeros(0, int))
    with pytest.raises(ValueError, match="every target is ignored"):
        F.cross_entropy(mg.zeros(2, 5), [-100, -100])
    with pytest.raises(ValueError, match=r"ignore_index=3"):
        F.nll_loss(mg.zeros(2, 5), [3, 3], ignore_index=3)


@pytest.mark.parametrize("op", [lambda x: x.max(), lambda x: x.min(), lambda x: x.amax(1), lambda x: x.max(1)])
def test_the_largest_of_nothing_is_an_error(backend, op):
    with pytest.raises((ValueError, IndexError), match="(?i)zero-size|empty"):
        op(mg.zeros(2, 0))


def test_zero_d_tensors(backend):
    x = leaf(2.0)
    y = (x * x + x.exp() - x / 3).sum().mean().reshape(1, 1).squeeze()
    y.backward()
    assert y.shape == () and x.grad.shape == ()
    assert float(host(x.grad)) == pytest.approx(4 + np.exp(2.0) - 1 / 3, rel=1e-6)


# ---- mistakes: what was given, what is needed -------------------------------------------------------------------------


def m(*shape):
    return mg.zeros(*shape)


MISTAKES = [
    ("matmul", lambda: m(2, 3) @ m(4, 5), ValueError, r"inner sizes differ: \(2, 3\) @ \(4, 5\)"),
    ("matmul-number", lambda: mg.matmul(m(2), mg.tensor(1.0)), ValueError, "at least one dimension; use \\*"),
    ("linear", lambda: F.linear(m(2, 3), m(5, 4)), ValueError, r"input \(2, 3\), weight \(out, in\) = \(5, 4\)"),
    ("linear-bias", lambda: F.linear(m(2, 3), m(5, 3), m(3)), ValueError, r"bias must be \(5,\).*got \(3,\)"),
    ("reshape", lambda: m(2, 3).reshape(4, 2), ValueError, r"6 elements of shape \(2, 3\) do not fit into \(4, 2\)"),
    ("split_heads", lambda: F.split_heads(m(2, 3, 8), 3), ValueError, r"\(2, 3, 8\) and H = 3"),
    ("split_heads", lambda: F.split_heads(m(3, 8), 2), ValueError, r"needs \(B, T, H·d\)"),
    ("merge_heads", lambda: F.merge_heads(m(2, 3, 8)), ValueError, r"needs \(B, H, T, d\); got \(2, 3, 8\)"),
    ("permute", lambda: m(2, 3).permute(0, 0), ValueError, r"\(0, 0\) is not an order of the 2 dim"),
    ("transpose", lambda: m(2, 3).transpose(0, 2), IndexError, "dimension 2 is out of range .* 2 dimensions"),
    ("unsqueeze", lambda: m(2).unsqueeze(3), IndexError, "dimension 3 is out of range"),
    ("flatten", lambda: m(2, 3, 4).flatten(2, 1), ValueError, "start_dim 2 comes after end_dim 1"),
    ("expand", lambda: m(2, 3).expand(2, 4), ValueError, r"\(2, 3\) cannot be repeated to \(2, 4\)"),
    ("cat", lambda: mg.cat([m(2, 3), m(3, 4)]), ValueError, r"\[\(2, 3\), \(3, 4\)\] differ"),
    ("cat-nothing", lambda: mg.cat([]), ValueError, "at least one"),
    ("stack", lambda: mg.stack([m(2, 3), m(3, 2)]), ValueError, r"\[\(2, 3\), \(3, 2\)\] differ"),
    ("stack-nothing", lambda: mg.stack([]), ValueError, "at least one"),
    ("split", lambda: m(5).split([2, 2]), ValueError, r"\[2, 2\] add up to 4, but dim 0 has 5"),
    ("split-0", lambda: m(5).split(0), ValueError, "at least 1; got 0"),
    ("chunk-0", lambda: m(5).chunk(0), ValueError, "at least 1; got 0"),
    ("pad", lambda: F.pad(m(2), (1, 2, 3)), ValueError, r"pairs .* at most 1 dims; got \(1, 2, 3\)"),
    ("pad-negative", lambda: F.pad(m(2), (-1, 2)), ValueError, r"got \(-1, 2\)"),
    ("broadcast", lambda: m(2, 3) + m(4), ValueError, r"\(2,3\) \(4,\)"),
    ("index", lambda: m(3)[3], IndexError, r"shape \(3,\).*index 3"),
    ("index-list", lambda: m(3, 4)[[0, 5]], IndexError, "index 5 is out of range for dimension 0 with size 3"),
    ("index-second", lambda: m(3, 4)[:, [-5]], IndexError, "index -5 is out of range for dimension 1 with size 4"),
    ("index-float", lambda: m(3)[[0.5]], IndexError, "integers or booleans; got float64"),
    ("index-mask", lambda: m(3)[np.array([True, False])], IndexError, r"shape \(3,\)"),
    ("index-many", lambda: m(3)[0, 0], IndexError, r"shape \(3,\)"),
    ("gather", lambda: mg.gather(m(3, 4), 1, [[4]]), IndexError, r"gather index 4 at \(0, 0\) is outside 0 … 3"),
    ("gather-negative", lambda: mg.gather(m(3, 4), 1, [[-1]]), IndexError, "gather index -1"),
    ("gather-shape", lambda: mg.gather(m(3, 4), 1, [0, 1]), ValueError, r"shape \(2,\) does not fit x of shape \(3, 4\)"),
    ("gather-float", lambda: mg.gather(m(3), 0, m(1)), TypeError, "must be integers; got float32"),
    ("index_select", lambda: mg.index_select(m(3), 0, [3]), IndexError, "index_select index 3 .* 0 … 2"),
    ("index_select-2d", lambda: mg.index_select(m(3), 0, [[1]]), ValueError, r"must be 1-D; got shape \(1, 1\)"),
    ("embedding", lambda: F.embedding([[0, 7]], m(5, 2)), IndexError, r"token id 7 at \(0, 1\) is outside 0 … 4"),
    ("embedding-negative", lambda: F.embedding([-1], m(5, 2)), IndexError, "token id -1"),
    ("embedding-float", lambda: F.embedding([0.5], m(5, 2)), TypeError, "integers; got dtype float64"),
    ("embedding-weight", lambda: F.embedding([0], m(5)), ValueError, r"\(num_embeddings, embedding_dim\); got \(5,\)"),
    ("cross_entropy", lambda: F.cross_entropy(m(2, 3), [0, 3]), IndexError,
     r"cross_entropy target 3 at \(1,\) is outside 0 … 2 \(and is not -100\)"),
    ("cross_entropy-shape", lambda: F.cross_entropy(m(2, 3), [0]), ValueError,
     r"input of shape \(2, 3\) needs targets of shape \(2,\); got \(1,\)"),
    ("cross_entropy-float", lambda: F.cross_entropy(m(2, 3), [0.0, 1.0]), TypeError, "must be host integers"),
    ("cross_entropy-number", lambda: F.cross_entropy(mg.tensor(1.0), 0), ValueError, "needs a class dimension"),
    ("cross_entropy-eps", lambda: F.cross_entropy(m(2, 3), [0, 1], label_smoothing=1.5), ValueError, "got 1.5"),
    ("cross_entropy-reduction", lambda: F.cross_entropy(m(2, 3), [0, 1], reduction="max"), ValueError, "got 'max'"),
    ("mse_loss", lambda: F.mse_loss(m(2, 3), m(3)), ValueError, r"input \(2, 3\) and target \(3,\)"),
    ("mse_loss-reduction", lambda: F.mse_loss(m(2), m(2), reduction="avg"), ValueError, "'mean', 'sum' or 'none'; got 'avg'"),
    ("layer_norm", lambda: F.layer_norm(m(2, 3), 4), ValueError, r"\(4,\) must be the last sizes of the input \(2, 3\)"),
    ("layer_norm-weight", lambda: F.layer_norm(m(2, 3), 3, m(2)), ValueError, r"weight must have shape \(3,\); got \(2,\)"),
    ("layer_norm-bias", lambda: F.layer_norm(m(2, 3), 3, None, m(3)), ValueError, "bias without a weight"),
    ("rms_norm", lambda: F.rms_norm(m(2, 3), (2, 2)), ValueError, r"\(2, 2\) must be the last sizes"),
    ("attention", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 4), m(2, 4)), ValueError,
     r"do not fit: \(2, 3\), \(2, 4\)"),
    ("attention-v", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 3), m(4, 3)), ValueError, r"\(4, 3\)"),
    ("attention-1d", lambda: F.scaled_dot_product_attention(m(3), m(3), m(3)), ValueError, "do not fit"),
    ("attention-dropout", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 3), m(2, 3), dropout_p=1.0), ValueError,
     "got 1.0"),
    ("attention-mask", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 3), m(2, 3), mg.tensor([[True] * 3])), ValueError,
     r"mask and scores of shape \(1, 3\) and \(2, 2\)"),
    ("attention-mask-large", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 3), m(2, 3), mg.tensor([[[True]]] * 4)),
     ValueError, r"shape \(4, 1, 1\) is larger than the scores, \(2, 2\)"),
    ("attention-batches", lambda: F.scaled_dot_product_attention(m(2, 5, 3), m(4, 5, 3), m(4, 5, 3)), ValueError,
     r"\(2,\) and \(4,\) do not broadcast"),
    ("attention-mask-grad", lambda: F.scaled_dot_product_attention(m(2, 3), m(2, 3), m(2, 3), leaf([[0.0]])), ValueError,
     "cannot require a gradient"),
    ("softmax", lambda: F.softmax(m(2, 3), 2), IndexError, "dimension 2 is out of range"),
    ("sum", lambda: m(2, 3).sum(2), IndexError, "axis 2 is out of bounds .* 2"),
    ("dropout", lambda: F.dropout(m(2), 1.5), ValueError, "0 ≤ p < 1; got 1.5"),
    ("gelu", lambda: F.gelu(m(2), approximate="fast"), ValueError, "'none' or 'tanh'; got 'fast'"),
    ("clamp", lambda: m(2).clamp(), ValueError, "give min=, max= or both"),
    ("where", lambda: mg.where(m(2), 1.0, 2.0), TypeError, "must be boolean; got float32"),
    ("norm", lambda: m(2, 3).norm(1), ValueError, "p=2.*got p=1"),
    ("zeros-dtype", lambda: mg.zeros(2, dtype="flaot32"), TypeError, "unknown dtype 'flaot32': known are"),
    ("strings", lambda: m(2) + "a", TypeError, "needs numbers; got str"),
    ("none", lambda: m(2) * None, TypeError, "needs numbers; got NoneType"),
]


@pytest.mark.parametrize(("call", "error", "message"), [c[1:] for c in MISTAKES], ids=[c[0] for c in MISTAKES])
def test_a_mistake_is_named(backend, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_operands_of_two_backends_are_named(backend):
    with mg.use_backend("numpy"):
        a = mg.ones(2)
    with mg.use_backend("strict"):
        b = mg.ones(2)
    for call in (lambda: a + b, lambda: mg.cat([a, b]), lambda: F.linear(a, b.reshape(1, 2)), lambda: mg.where(a > 0, a, b),
                 lambda: a == b, lambda: b[a > 0], lambda: a.requires_grad_().exp().backward(b)):
        with pytest.raises(TypeError, match="(?s)numpy.*strict|strict.*numpy|two backends"):
            call()


def test_integers_adopt_the_float_they_meet_when_joined_or_limited(backend):
    ints, floats = mg.tensor([1, 2]), mg.tensor([0.5])
    assert mg.cat([ints, floats]).dtype.name == "float32" and ints.clamp(0.5).dtype.name == "float32"
    assert mg.cat([ints, ints]).dtype.name == "int64" and ints.clamp(1).dtype.name == "int64"
    assert mg.ones(2, 3).sum(dim=()).shape == ()


def test_scalars_have_dims_0_and_minus_1_and_no_other(backend):
    x = mg.tensor(3.0)
    assert mg.argmax(x, -1).item() == 0 and mg.max(x, 0)[1].item() == 0 and mg.chunk(mg.ones(3), 2)[1].shape == (1,)
    for op in (mg.sum, mg.mean, mg.softmax, mg.squeeze, mg.cumsum):
        with pytest.raises(IndexError, match="dimension|axis"):
            op(x, 1)
    for op in (lambda: mg.cat([x, x]), lambda: mg.split(x, 1), lambda: mg.chunk(x, 2)):
        with pytest.raises(ValueError, match="scalar"):
            op()
    with pytest.raises(ValueError, match="one may be -1"):
        mg.reshape(mg.ones(6), 2, -2)
