"""Every layer against PyTorch's: output, input gradient and parameter gradients, in float64 and float32."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

CASES = {
    "linear": (lambda: nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (2, 4, 5)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), lambda: torch.nn.Linear(5, 3, bias=False), (4, 5)),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: torch.nn.LayerNorm(6), (2, 3, 6)),
    "layer norm over two": (lambda: nn.LayerNorm((3, 6), eps=1e-3), lambda: torch.nn.LayerNorm((3, 6), eps=1e-3),
                            (2, 3, 6)),
    "layer norm, no bias": (lambda: nn.LayerNorm(6, bias=False), lambda: torch.nn.LayerNorm(6, bias=False), (2, 6)),
    "layer norm, plain": (lambda: nn.LayerNorm(6, elementwise_affine=False),
                          lambda: torch.nn.LayerNorm(6, elementwise_affine=False), (2, 6)),
    "rms norm": (lambda: nn.RMSNorm(6), lambda: torch.nn.RMSNorm(6), (2, 3, 6)),
    "rms norm, eps": (lambda: nn.RMSNorm(6, eps=0.1), lambda: torch.nn.RMSNorm(6, eps=0.1), (2, 3, 6)),
    "relu": (nn.ReLU, lambda: torch.nn.ReLU(), (3, 4)),
    "gelu": (nn.GELU, lambda: torch.nn.GELU(), (3, 4)),
    "gelu tanh": (lambda: nn.GELU("tanh"), lambda: torch.nn.GELU("tanh"), (3, 4)),
    "silu": (nn.SiLU, lambda: torch.nn.SiLU(), (3, 4)),
    "tanh": (nn.Tanh, lambda: torch.nn.Tanh(), (3, 4)),
    "sigmoid": (nn.Sigmoid, lambda: torch.nn.Sigmoid(), (3, 4)),
    "identity": (nn.Identity, lambda: torch.nn.Identity(), (3, 4)),
    "chain": (lambda: nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 2)),
              lambda: torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.SiLU(), torch.nn.Linear(7, 2)), (4, 5)),
}
RTOL = {"float64": 1e-10, "float32": 1e-5}


def same(ours, theirs, dtype, what=""):
    ours, theirs = mg.to_numpy(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype.name == dtype, what
    assert np.abs(ours - theirs).max() <= RTOL[dtype] * max(1.0, np.abs(theirs).max()), what


def copy_weights(ours, theirs, dtype):
    """Random weights (norms and biases too) in both."""
    rng = np.random.default_rng(1)
    ours.to(dtype=dtype)
    theirs.to(getattr(torch, dtype))
    state = {name: rng.normal(size=value.shape) for name, value in ours.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})


def check_layer(ours, theirs, x, dtype):
    rng = np.random.default_rng(2)
    a = mg.tensor(x, requires_grad=True)
    b = torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    same(y, z, dtype, "output")
    gy = rng.normal(size=y.shape).astype(dtype)
    y.backward(mg.tensor(gy))
    z.backward(torch.from_numpy(gy))
    same(a.grad, b.grad, dtype, "input gradient")
    gradients = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        same(p.grad, gradients[name].grad, dtype, name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_layer_is_pytorchs(backend, name, dtype):
    make_ours, make_theirs, shape = CASES[name]
    ours, theirs = make_ours(), make_theirs()
    copy_weights(ours, theirs, dtype)
    check_layer(ours, theirs, np.random.default_rng(0).normal(size=shape).astype(dtype), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_embedding_is_pytorchs(backend, dtype):
    ours, theirs = nn.Embedding(5, 3), torch.nn.Embedding(5, 3)
    copy_weights(ours, theirs, dtype)
    ids = np.array([[0, 4, 4], [2, 4, 0]])          # repeated rows add their gradients up
    y, z = ours(ids), theirs(torch.from_numpy(ids))
    same(y, z, dtype)
    gy = np.random.default_rng(0).normal(size=y.shape).astype(dtype)
    y.backward(mg.tensor(gy))
    z.backward(torch.from_numpy(gy))
    same(ours.weight.grad, theirs.weight.grad, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_attention_is_pytorchs(backend, dtype):
    D, H, T = 8, 2, 5
    ours = nn.MultiHeadAttention(D, H)
    theirs = torch.nn.MultiheadAttention(D, H, batch_first=True)
    rng = np.random.default_rng(1)
    ours.to(dtype=dtype)
    theirs.to(getattr(torch, dtype))
    state = {name: rng.normal(size=value.shape).astype(dtype) for name, value in ours.state_dict().items()}
    ours.load_state_dict(state)
    packed = {kind: np.concatenate([state[f"{p}_proj.{kind}"] for p in "qkv"]) for kind in ("weight", "bias")}
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in {
        "in_proj_weight": packed["weight"], "in_proj_bias": packed["bias"], "out_proj.weight": state["o_proj.weight"],
        "out_proj.bias": state["o_proj.bias"]}.items()})
    x = rng.normal(size=(3, T, D)).astype(dtype)
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mask = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)
    y, z = ours(a), theirs(b, b, b, attn_mask=mask, need_weights=False)[0]
    same(y, z, dtype, "output")
    gy = rng.normal(size=y.shape).astype(dtype)
    y.backward(mg.tensor(gy))
    z.backward(torch.from_numpy(gy))
    same(a.grad, b.grad, dtype, "input")
    gw, gb = theirs.in_proj_weight.grad.chunk(3), theirs.in_proj_bias.grad.chunk(3)
    for i, p in enumerate("qkv"):
        same(getattr(ours, f"{p}_proj").weight.grad, gw[i], dtype, p)
        if p != "k":                                # the true gradient of k's bias is 0
            same(getattr(ours, f"{p}_proj").bias.grad, gb[i], dtype, p)
    same(ours.o_proj.weight.grad, theirs.out_proj.weight.grad, dtype)


class Prefix(nn.Module):
    """Fixed keys and values in front of every sequence."""

    def __init__(self, k, v):
        super().__init__()
        self.k, self.v = nn.Parameter(mg.tensor(k)), nn.Parameter(mg.tensor(v))

    def forward(self, batch):
        return self.k.expand(batch, *self.k.shape[1:]), self.v.expand(batch, *self.v.shape[1:])


def test_a_prefix_made_of_real_keys_is_the_longer_sequence(backend):
    """Keys and values of the first tokens, given as a prefix, let the others see what they saw."""
    mg.manual_seed(0)
    attention = nn.MultiHeadAttention(8, 2).to(dtype="float64")
    x = mg.tensor(np.random.default_rng(0).normal(size=(1, 6, 8)))
    whole = attention(x).numpy()
    head = x[:, :2]
    k, v = (attention.split_heads(proj(head)).numpy() for proj in (attention.k_proj, attention.v_proj))
    attention.prefix = Prefix(k, v)
    np.testing.assert_allclose(attention(x[:, 2:]).numpy(), whole[:, 2:], atol=1e-12)
    attention(x[:, 2:]).sum().backward()
    assert np.abs(mg.to_numpy(attention.prefix.v.grad)).max() > 0
    assert "prefix.k" in dict(attention.named_parameters())
    attention.prefix = None
    np.testing.assert_allclose(attention(x).numpy(), whole, atol=0)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features must be at least 1; got 0"),
    (lambda: nn.Linear(3, 2.5), TypeError, "out_features must be a whole number; got 2.5"),
    (lambda: nn.Embedding(3, -1), ValueError, "embedding_dim"), (lambda: nn.LayerNorm((3, 0)), ValueError, "LayerNorm"),
    (lambda: nn.Dropout(1.5), ValueError, "p must lie between 0 and 1; got 1.5"),
    (lambda: nn.Dropout("a"), TypeError, "must be a number"), (lambda: nn.GELU("erf"), ValueError, "'none' or 'tanh'"),
    (lambda: nn.MultiHeadAttention(8, 3), ValueError, "d_model=8 cannot be split into n_heads=3")])
def test_bad_sizes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_dropout_keeps_the_mean_and_is_off_in_evaluation(backend):
    mg.manual_seed(0)
    layer = nn.Dropout(0.25)
    y = layer(mg.ones(4000)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.03
    np.testing.assert_array_equal(layer.eval()(mg.ones(10)).numpy(), 1)


def test_initial_values_are_distributed_like_pytorchs(backend):
    """The bounds and spreads, since the random streams differ."""
    mg.manual_seed(0)
    ours, theirs = nn.Linear(400, 300), torch.nn.Linear(400, 300)
    for a, b in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        a, b = a.numpy(), b.detach().numpy()
        assert np.abs(a).max() <= 0.05 + 1e-7 and abs(a.std() / b.std() - 1) < 0.15
    assert abs(nn.Embedding(100, 50).weight.numpy().std() - 1) < 0.05


INITS = [("uniform_", (-2.0, 3.0)), ("normal_", (1.0, 2.0)), ("kaiming_uniform_", ()), ("kaiming_normal_", ()),
         ("kaiming_uniform_", (0.5, "fan_out")), ("xavier_uniform_", (2.0,)), ("xavier_normal_", ()),
         ("constant_", (3.0,)), ("zeros_", ()), ("ones_", ())]


@pytest.mark.parametrize(("name", "args"), INITS)
def test_init_has_pytorchs_distribution(backend, name, args):
    mg.manual_seed(0)
    t = mg.zeros(300, 200)
    a = getattr(nn.init, name)(t, *args).numpy()
    b = getattr(torch.nn.init, name)(torch.zeros(300, 200), *args).numpy()
    assert a.dtype == np.float32
    assert abs(a.mean() - b.mean()) < 0.02 * (1 + b.std()) and abs(a.std() - b.std()) <= 0.02 * b.std()
    assert abs(a.max() - b.max()) <= (0.25 if "normal" in name else 0.01) * (abs(b).max() + 1e-9)


def test_init_refuses_what_has_no_fan():
    with pytest.raises(ValueError, match=r"at least 2 dimensions; got shape \(3,\)"):
        nn.init.xavier_uniform_(mg.zeros(3))
    with pytest.raises(ValueError, match="no gain is known for 'typo'"):
        nn.init.calculate_gain("typo")
    with pytest.raises(ValueError, match="mode must be"):
        nn.init.kaiming_uniform_(mg.zeros(3, 3), mode="fan")
