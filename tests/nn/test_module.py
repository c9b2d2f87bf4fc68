"""Module: registration, names, walking, saving and loading, moving, printing, and what it refuses."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Net(nn.Module):
    """Two layers that share a weight, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 2)])
        self.layers[0].weight = self.first.weight
        self.register_buffer("scale", mg.ones(2))
        self.note = "plain"

    def forward(self, x):
        return self.layers[1](self.layers[0](self.first(x))) * self.scale


@pytest.fixture
def net(backend):
    mg.manual_seed(0)
    return Net()


NAMES = ["first.weight", "first.bias", "layers.1.weight", "layers.1.bias"]


def test_names_and_a_tied_weight_once(net):
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert "layers.0.weight" in dict(net.named_parameters(remove_duplicate=False))
    assert len(list(net.parameters())) == 4 and net.num_parameters() == 9 + 3 + 6 + 2
    assert [name for name, _ in net.named_modules()] == ["", "first", "layers", "layers.0", "layers.1"]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == []
    assert next(net.named_parameters(prefix="net"))[0] == "net.first.weight"
    assert [name for name, _ in net.named_buffers()] == ["scale"]


def test_before_init_nothing_can_be_registered():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)
            super().__init__()

    with pytest.raises(AttributeError, match=r"Early.layer was assigned before .* super\(\).__init__\(\) first"):
        Early()


def test_assigning_and_deleting(net):
    with pytest.raises(TypeError, match="weight is a Parameter; a Tensor cannot take its place"):
        net.first.weight = mg.zeros(3, 3)
    with pytest.raises(TypeError, match="first is a Module"):
        net.first = "typo"
    net.first.bias = None
    assert "first.bias" not in dict(net.named_parameters()) and net.first.bias is None
    net.first.bias = nn.Parameter(mg.zeros(3))
    net.note = nn.Linear(1, 1)                      # a plain attribute becomes a child …
    assert "note" in dict(net.named_modules()) and net.note is net.get_submodule("note")
    net.note = nn.Parameter(mg.zeros(1))            # … and a child becomes a parameter
    assert "note" in dict(net.named_parameters()) and "note" not in dict(net.named_modules())
    del net.note
    with pytest.raises(AttributeError, match="Net has no attribute 'note'"):
        net.note  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'first'"):
        net.frist  # noqa: B018


def test_get_and_set_submodule(net):
    assert net.get_submodule("layers.1") is net.layers[1] and net.get_submodule("") is net
    new = nn.Linear(3, 2)
    net.set_submodule("layers.1", new)
    assert net.layers[1] is new
    with pytest.raises(AttributeError, match="no submodule 'layers.2': layers has no child '2'; its children are 0, 1"):
        net.get_submodule("layers.2")
    with pytest.raises(AttributeError, match="no child 'layer'.*did you mean 'layers'"):
        net.set_submodule("layer.1", new)
    with pytest.raises(AttributeError, match="no submodule 'layers.7'"):
        net.set_submodule("layers.7", new, strict=True)
    with pytest.raises(AttributeError, match="no submodule 'first.weight'"):
        net.set_submodule("first.weight", new)
    with pytest.raises(TypeError, match="needs a Module; got str"):
        net.set_submodule("first", "typo")
    with pytest.raises(ValueError, match="name of a submodule"):
        net.set_submodule("", new)
    with pytest.raises(AttributeError, match="no parameter 'first.typo': first has weight, bias"):
        net.get_parameter("first.typo")


def test_state_dict_is_host_copies(net):
    state = net.state_dict()
    assert sorted(state) == sorted([*NAMES, "scale"])
    assert all(type(value) is np.ndarray for value in state.values())
    state["first.bias"][...] = 7
    assert not (net.state_dict()["first.bias"] == 7).any()


def test_load_state_dict_takes_values_and_keeps_ties(net, backend):
    mg.manual_seed(1)
    other = Net()
    assert net.load_state_dict(other.state_dict()) == ([], [])
    x = mg.ones(2, 3)
    np.testing.assert_array_equal(net(x).numpy(), other(x).numpy())
    assert net.first.weight is net.layers[0].weight and net.first.weight.backend.name == backend
    state = other.state_dict()
    state["layers.0.weight"] = state.pop("first.weight")        # any one name of a tied weight will do
    net.load_state_dict({name: value.astype("float64") for name, value in state.items()})
    np.testing.assert_array_equal(net.first.weight.numpy(), other.first.weight.numpy())
    assert net.first.weight.dtype.name == "float32"
    net.load_state_dict(dict(other.named_parameters()) | {"scale": other.scale})     # tensors are fine as well


def test_loading_does_not_write_into_a_shared_array(net):
    shared = net.first.weight.data
    before = mg.to_numpy(shared).copy()
    net.load_state_dict(Net().state_dict())
    np.testing.assert_array_equal(mg.to_numpy(shared), before)


def test_load_state_dict_lists_everything_and_changes_nothing(net):
    before, state = net.state_dict(), Net().state_dict()
    del state["first.bias"]
    state["first.bais"] = np.zeros(3)
    state["layers.1.weight"] = np.zeros((2, 4))
    state["scale"] = "text"
    state["layers.0.weight"] = state["first.weight"] + 1
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    for line in ("missing: first.bias", "unexpected: first.bais (did you mean 'first.bias'?)",
                 "wrong shape: layers.1.weight is (2, 4), the model needs (2, 3)",
                 "not an array of numbers: scale is str",
                 "two values for one tied weight: layers.0.weight and first.weight differ", "nothing was changed"):
        assert line in text, line
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_state_dict_not_strict(net):
    result = net.load_state_dict({"first.bias": np.full(3, 5.0), "extra": np.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["extra"] and "first.weight" in result.missing_keys
    np.testing.assert_array_equal(net.first.bias.numpy(), 5)
    with pytest.raises(RuntimeError, match="wrong shape"):
        net.load_state_dict({"first.bias": np.zeros(4)}, strict=False)


def test_train_eval_and_freezing(net):
    net.eval()
    assert not any(m.training for m in net.modules())
    net.layers.train()
    assert net.layers[1].training and not net.first.training
    net(mg.ones(1, 3)).sum().backward()
    net.layers.requires_grad_(False)
    assert not net.first.weight.requires_grad and net.first.weight.grad is None     # tied: frozen there as well
    assert net.first.bias.requires_grad and net.first.bias.grad is not None
    assert net.num_parameters(trainable_only=True) == 3
    net.zero_grad()
    assert net.first.bias.grad is None
    net(mg.ones(1, 3)).sum().backward()
    assert net.first.bias.grad is not None and net.layers[1].weight.grad is None    # gradient passes through


def test_to_dtype_and_back(net):
    net(mg.ones(1, 3)).sum().backward()
    tied = net.first.weight
    assert net.to(dtype="float64") is net and net.first.weight is tied
    assert {t.dtype.name for t in [*net.parameters(), net.scale]} == {"float64"}
    assert tied.grad.dtype.name == "float64"
    with pytest.raises(TypeError, match="floating dtype; got int64"):
        net.to(dtype="int64")
    with pytest.raises(ValueError, match="unknown backend 'nupmy'"):
        net.to(backend="nupmy")


def test_to_another_backend(net, backend):
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    before = net(mg.tensor(x)).numpy()
    net.to(backend="numpy")
    with mg.use_backend("numpy"):
        after = net(mg.tensor(x))
    assert after.backend.name == "numpy"
    np.testing.assert_array_equal(after.numpy(), before)


def test_containers(backend):
    chain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert [type(m).__name__ for m in chain] == ["Linear", "ReLU", "Linear"] and chain[-1] is chain[2]
    assert len(chain[:2]) == 2 and isinstance(chain[:2], nn.Sequential) and chain[:2][0] is chain[0]
    chain[1] = nn.Tanh()
    assert isinstance(chain[1], nn.Tanh)
    layers = nn.ModuleList([nn.Identity()]).append(nn.ReLU()).extend([nn.Tanh()])
    assert len(layers) == 3 and isinstance(layers[1:], nn.ModuleList) and len(layers[1:]) == 2
    with pytest.raises(IndexError, match="index 3 is outside this ModuleList of 3"):
        layers[3]
    with pytest.raises(TypeError, match="must be a Module or None; got int"):
        layers.append(3)
    with pytest.raises(NotImplementedError, match="ModuleList must define forward"):
        layers(1)


def test_apply_goes_children_first(net):
    order = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order == ["Linear", "Linear", "Linear", "ModuleList", "Net"]


def test_printing(net):
    assert repr(net) == """Net(
  (first): Linear(in_features=3, out_features=3, bias=True)
  (layers): ModuleList(
    (0): Linear(in_features=3, out_features=3, bias=False)
    (1): Linear(in_features=3, out_features=2, bias=True)
  )
)"""
    assert "(0-2): 3 x ReLU()" in repr(nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.Tanh()))
    assert repr(nn.Parameter(mg.ones(1))).startswith("Parameter containing:\ntensor([1.]")


def test_parameter_shares_memory_and_checks(backend):
    t = mg.ones(2)
    assert nn.Parameter(t).data is t.data and nn.Parameter(t.data).data is t.data
    assert nn.Parameter([1.0, 2.0]).shape == (2,) and not nn.Parameter(t, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="floating-point"):
        nn.Parameter(mg.tensor([1, 2]))
    with pytest.raises(TypeError, match="object is not an array"):
        nn.Parameter(object())


def test_buffers(net):
    with pytest.raises(KeyError, match="already has an attribute 'first'"):
        net.register_buffer("first", mg.ones(1))
    with pytest.raises(TypeError, match="must be a Tensor or None; got int"):
        net.register_buffer("other", 3)
    with pytest.raises(TypeError, match="scale is a Tensor; a float cannot"):
        net.scale = 2.0
    assert "scale" not in dict(net.named_parameters())


def test_parameters_do_not_count_as_activations(net):
    x = mg.ones(50, 3)
    y = net.first(x)
    assert mg.graph_stats(y).saved_bytes <= x.data.nbytes
