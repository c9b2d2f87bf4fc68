"""graph_stats counts what is really kept: each buffer once, no parameters, nothing frozen."""
from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

B, IN, HID, OUT = 5, 3, 7, 2


def leaf(*shape, dtype="float32"):
    return mg.tensor(np.full(shape, 0.5), dtype=dtype, requires_grad=True)


def stats(y):
    s = mg.graph_stats(y)
    return s.nodes, s.saved_bytes


def mlp(train=(True, True)):
    """x -> linear -> gelu -> linear -> mean square, with parameters; `train`: which linear layers are trainable."""
    params = [mg.nn.Parameter(mg.full((HID, IN), 0.1)), mg.nn.Parameter(mg.zeros(HID)),
              mg.nn.Parameter(mg.full((OUT, HID), 0.1)), mg.nn.Parameter(mg.zeros(OUT))]
    for i, p in enumerate(params):
        p.requires_grad_(train[i // 2])
    w1, b1, w2, b2 = params
    x = mg.ones(B, IN)
    return F.mse_loss(F.linear(F.gelu(F.linear(x, w1, b1), approximate="tanh"), w2, b2), mg.ones(B, OUT))


def test_one_operation(backend):
    x = leaf(10, 10)
    assert stats(x.exp()) == (1, 400)
    assert stats(x + 1.0) == (1, 0)
    assert stats(leaf(10, 10, dtype="float64").exp()) == (1, 800)
    assert stats(x) == (0, 0)
    assert stats(mg.ones(3) * 2.0) == (0, 0)


def test_a_small_mlp_to_the_byte(backend):
    """Linear 1 saves x (B·IN); GELU its slope (B·HID); linear 2 its input (B·HID); square its input (B·OUT)."""
    s = mg.graph_stats(mlp())
    assert s.saved_bytes == 4 * (B * IN + B * HID + B * HID + B * OUT)
    assert s.nodes == 6                             # linear, gelu, linear, sub, square, mean
    assert s.by_op == {"linear": (2, 4 * (B * IN + B * HID)), "gelu": (1, 4 * B * HID), "sub": (1, 0),
                       "square": (1, 4 * B * OUT), "mean": (1, 0)}


def test_the_top_layer_alone(backend):
    """With the first layer frozen, nothing below the second one's input is kept or walked."""
    s = mg.graph_stats(mlp(train=(False, True)))
    assert s.saved_bytes == 4 * (B * HID + B * OUT)
    assert s.by_op == {"linear": (1, 4 * B * HID), "sub": (1, 0), "square": (1, 4 * B * OUT), "mean": (1, 0)}


def test_the_bottom_layer_alone(backend):
    """The frozen second layer passes the gradient on, but its input is not kept: only its weight, which is no activation."""
    s = mg.graph_stats(mlp(train=(True, False)))
    assert s.saved_bytes == 4 * (B * IN + B * HID + B * OUT)
    assert s.nodes == 6


def test_a_buffer_counts_once(backend):
    x = leaf(100)
    h = x.exp()                                     # saves its output
    y = h * h                                       # saves it twice more
    z = y + h.reshape(10, 10).sum() + h[:50].square().sum() + h.square().sum()      # views of it, and it again
    assert mg.graph_stats(z).saved_bytes == 400


def test_a_slice_keeps_all_of_what_it_is_a_slice_of(backend):
    x = leaf(100)
    with mg.no_grad():
        big = x * 2.0
    assert mg.graph_stats(leaf(10) * big[:10]).saved_bytes == 400 + 0 * 40


def test_parameters_and_their_views_do_not_count(backend):
    w = mg.nn.Parameter(mg.ones(4, 3))
    x = leaf(2, 3)
    assert mg.graph_stats(F.linear_naive(x, w)).saved_bytes == 2 * 3 * 4
    assert mg.graph_stats((w.T.reshape(12) * w.reshape(12)).sum()).saved_bytes == 0
    w.requires_grad_(False)
    assert mg.graph_stats(F.linear(x, w)).saved_bytes == 0
    same = mg.tensor(np.ones((4, 3), np.float32))   # an ordinary tensor in its place is an activation
    assert mg.graph_stats(F.linear(x, same)).saved_bytes == 4 * 3 * 4


def test_naive_and_fused(backend):
    """What fusion is for: softmax saves one array of its size, its naive twin several."""
    x = leaf(8, 16)
    fused, naive = mg.graph_stats(F.softmax(x, -1)), mg.graph_stats(F.softmax_naive(x, -1))
    assert (fused.nodes, fused.saved_bytes) == (1, 8 * 16 * 4)
    assert naive.nodes == 5 and naive.saved_bytes > 2 * fused.saved_bytes


def test_attention_saves_its_inputs_alone(backend):
    q, k, v = leaf(2, 3, 5, 4), leaf(2, 3, 6, 4), leaf(2, 3, 6, 7)
    s = mg.graph_stats(F.scaled_dot_product_attention(q, k, v))
    assert s.saved_bytes == 4 * (2 * 3) * (5 * 4 + 6 * 4 + 6 * 7)


def test_layer_norm_saves_what_its_trainable_parts_need(backend):
    """x (B·HID) and 1/σ (B) for the input, x alone for the weight, nothing for the bias."""
    for trains, expected in (((True, True, True), B * HID + B), ((False, True, True), B * HID), ((False, False, True), 0),
                             ((True, False, False), B * HID + B)):
        x, w, b = mg.ones(B, HID), mg.nn.Parameter(mg.ones(HID)), mg.nn.Parameter(mg.ones(HID))
        for t, train in zip((x, w, b), trains, strict=True):
            t.requires_grad_(train)
        assert mg.graph_stats(F.layer_norm(x, HID, w, b)).saved_bytes == 4 * expected
