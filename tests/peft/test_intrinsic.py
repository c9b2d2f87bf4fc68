"""Intrinsic dimension: the projections and their adjoints, and the search for d₉₀ on a small classifier."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, peft
from minigrad.nn import functional as F
from minigrad.peft import SAID, FullFineTuning, IntrinsicDimension, d90
from minigrad.peft.projection import KINDS, Projection, hadamard
from tests.peft.rows import adapt, logits, make_base, make_ids, randomize


def send(a):
    return mg.tensor(a).data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("small", "large"), [(7, 50), (20, 64), (1, 5), (33, 33)])
def test_the_backward_pass_is_the_adjoint(kind, small, large, backend):
    """A published Fastfood divides in the backward pass only: its gradient is wrong by the padded length."""
    P, rng = Projection(kind, small, large, seed=1), np.random.default_rng(0)
    z, g = rng.normal(size=small), rng.normal(size=large)
    forward = mg.to_numpy(P.apply(send(z))) @ g
    assert forward == pytest.approx(z @ mg.to_numpy(P.adjoint(send(g))), abs=1e-12)
    assert mg.gradcheck(lambda z: P(z), [mg.tensor(z, requires_grad=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_linear_seeded_and_keep_lengths(kind, backend):
    P, rng = Projection(kind, 20, 3000, seed=4), np.random.default_rng(0)
    a, b = rng.normal(size=20), rng.normal(size=20)
    combined = mg.to_numpy(P.apply(send(2 * a - 3 * b)))
    np.testing.assert_allclose(combined, 2 * mg.to_numpy(P.apply(send(a))) - 3 * mg.to_numpy(P.apply(send(b))), atol=1e-12)
    again, other = (mg.to_numpy(Projection(kind, 20, 3000, seed=s).apply(send(a))) for s in (4, 5))
    assert np.array_equal(again, mg.to_numpy(P.apply(send(a)))) and not np.allclose(again, other)
    columns = np.stack([mg.to_numpy(P.apply(send(row))) for row in np.eye(20)])
    lengths = np.linalg.norm(columns, axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-12 if kind != "fastfood" else 0.1)
    assert abs(columns @ columns.T - np.diag(lengths ** 2)).max() < 0.3
    if kind == "sparse":
        assert ((columns != 0).sum(axis=1) == 55).all()         # √3000


def test_the_hadamard_transform_is_its_own_inverse(backend):
    x = np.random.default_rng(0).normal(size=64)
    xp = mg.tensor(x).backend.xp
    np.testing.assert_allclose(mg.to_numpy(hadamard(xp, hadamard(xp, send(x)))), x, atol=1e-13)
    np.testing.assert_allclose(mg.to_numpy(hadamard(xp, send([1.0, 0, 0, 0]))), 0.5 * np.ones(4), atol=1e-15)


@pytest.mark.parametrize("bits", [0, 1, 5, 7, 10])
def test_the_hadamard_transform_is_its_definition(bits, backend):
    """H[i, j] = (−1)^(number of ones that i and j share in binary) / √n."""
    n = 1 << bits
    x, i = np.random.default_rng(bits).normal(size=n), np.arange(n)
    H = np.array([[(-1.0) ** (int(a) & int(b)).bit_count() for b in i] for a in i]) / np.sqrt(n)
    np.testing.assert_allclose(mg.to_numpy(hadamard(mg.tensor(x).backend.xp, send(x))), H @ x, atol=1e-13)


def test_with_as_many_numbers_as_weights_every_model_can_be_reached(backend):
    base, target, ids = make_base("float64", d_ff=4), make_base("float64", d_ff=4), make_ids()
    randomize(peft.apply(target, FullFineTuning()))             # leaves target alone
    rng = np.random.default_rng(3)
    for p in target.parameters():
        p.data = p.backend.send(p.numpy() + rng.normal(size=p.shape))
    adapted = adapt(base, IntrinsicDimension(base.num_parameters(), projection="dense"))
    wanted = np.concatenate([(p.numpy() - q.numpy()).ravel() for p, q in zip(target.parameters(), base.parameters(), strict=True)])
    z = adapted.model.z
    z.data = z.backend.send(np.linalg.solve(adapted.model.projection.parts[0], wanted))
    np.testing.assert_allclose(logits(adapted, ids), logits(target, ids), rtol=0, atol=1e-7)


def test_the_factors_scale_their_own_layer(backend):
    base = make_base("float64")
    adapted = randomize(adapt(base, SAID(30)))
    plane = adapted.model
    assert plane.factors.shape == (6,) and plane.z.shape == (24,)       # two embeddings, two blocks, norm, head
    moved = mg.to_numpy(adapted.model.projection.apply(plane.z.data))
    plain, at = adapted.merge_and_unload(), 0
    layer = {"token_embedding": 0, "position_embedding": 1, "blocks.0": 2, "blocks.1": 3, "norm": 4, "head": 5}
    for name, p in base.named_parameters():
        factor = plane.factors.numpy()[layer[".".join(name.split(".")[:2]) if name.startswith("blocks") else name.split(".")[0]]]
        expected = p.numpy() + factor * moved[at:at + p.size].reshape(p.shape)
        np.testing.assert_allclose(plain.get_parameter(name).numpy(), expected, atol=1e-13, err_msg=name)
        at += p.size


def test_a_tied_weight_moves_once(backend):
    base = make_base("float64", tie_head=True)
    adapted = randomize(adapt(base, IntrinsicDimension(10)))
    assert adapted.model.projection.large == base.num_parameters()
    plain = adapted.merge_and_unload()
    assert plain.head.weight is plain.token_embedding.weight
    np.testing.assert_allclose(logits(plain, make_ids()), logits(adapted, make_ids()), atol=1e-12)


def test_dimensions_that_do_not_fit(backend):
    with pytest.raises(ValueError, match=r"does not fit a model of [\d,]+ parameters; it must lie in 1 … "):
        adapt(make_base(), IntrinsicDimension(10 ** 6))
    with pytest.raises(ValueError, match="in 6 layers, each of which takes one; it must lie in 7 … "):
        adapt(make_base(), SAID(6))
    with pytest.raises(ValueError, match="'dense', 'sparse', 'fastfood'"):
        IntrinsicDimension(projection="hashed")


def classifier(*sizes):
    mg.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])


def fit(model, method, x, labels, lr):
    adapted = peft.apply(model, method)
    optimizer = mg.optim.AdamW(adapted.param_groups(lr), lr=lr, weight_decay=0.0)
    for _ in range(150):
        adapted.zero_grad()
        F.cross_entropy(adapted(mg.tensor(x)), labels).backward()
        optimizer.step()
    return adapted


def accuracy(method, x, labels, lr, model=None):
    adapted = fit(classifier(16, 24, 4) if model is None else model, method, x, labels, lr)
    with mg.no_grad():
        return float((adapted(mg.tensor(x)).numpy().argmax(axis=1) == labels).mean())


def test_the_published_size_of_the_digit_network():
    model = classifier(784, 200, 200, 10)
    assert model.num_parameters() == 199_210
    assert adapt(model, IntrinsicDimension(750)).model.projection.padded == 2 ** 18


@pytest.mark.parametrize("make", [IntrinsicDimension, SAID])
def test_a_model_that_is_one_layer_moves_too(make, backend):
    """Parameters of the outermost module itself, with no module around it."""
    layer, x = nn.Linear(3, 2), mg.tensor(np.ones((4, 3), dtype=np.float32))
    adapted = randomize(adapt(layer, make(5))).eval()
    y = adapted(x).numpy()
    assert np.abs(y - layer(x).numpy()).max() > 1e-2
    np.testing.assert_allclose(adapted.merge_and_unload()(x).numpy(), y, rtol=0, atol=1e-6)
    loss = (adapted(x) ** 2).sum()
    loss.backward()
    assert all(p.grad is not None for p in adapted.trainable_parameters())


@pytest.mark.parametrize("projection", KINDS)
def test_a_task_of_few_directions_has_a_small_intrinsic_dimension(projection):
    rng = np.random.default_rng(0)
    centers = 2.0 * rng.normal(size=(4, 16))
    labels = rng.integers(0, 4, 200)
    x = (centers[labels] + rng.normal(size=(200, 16))).astype(np.float32)
    full = accuracy(FullFineTuning(), x, labels, 1e-2)
    scores = {}

    def score(d):
        scores[d] = accuracy(IntrinsicDimension(d, projection), x, labels, 1e-1)
        return scores[d]

    found = d90(score, full, [1, 4, 16, 64])
    assert full > 0.95 and 4 <= found <= 64, (full, scores)     # of 508 parameters
    assert scores[1] < 0.9 * full


def test_a_pretrained_start_needs_fewer_directions_than_a_random_one():
    rng = np.random.default_rng(0)
    centers, which = 1.5 * rng.normal(size=(8, 16)), rng.integers(0, 8, 300)
    x = (centers[which] + rng.normal(size=(300, 16))).astype(np.float32)
    known = rng.permutation(8)[which] % 4                       # eight clusters in four classes
    asked = np.where(which == 0, (known + 1) % 4, known)        # one cluster changes its class
    blank = classifier(16, 24, 4)
    taught = fit(blank, FullFineTuning(), x, known, 1e-2).merge_and_unload()
    found = [d90(lambda d, start=start: accuracy(IntrinsicDimension(d), x, asked, 1e-1, start),
                 accuracy(FullFineTuning(), x, asked, 1e-2, start), [4, 8, 16, 32, 64]) for start in (taught, blank)]
    assert found[0] <= 8 and found[1] >= 16, found


def test_the_search():
    tried = []
    assert d90(lambda d: tried.append(d) or d / 10, 1.0, [10, 2, 9, 11]) == 9 and tried == [2, 9]
    assert d90(lambda d: 0.1, 1.0, [1, 2]) is None
    with pytest.raises(ValueError, match="positive score"):
        d90(lambda d: 1.0, 0.0, [1])
