"""What a step keeps for its backward pass: at most what PyTorch keeps, measured by PyTorch's own hooks."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

SIZES = [(2, 32, 4, 8, 16), (4, 128, 4, 32, 64), (6, 384, 6, 4, 256), (1, 24, 2, 3, 11)]


def torch_saved(model, ids):
    """Bytes that PyTorch's graph keeps, each buffer once, parameters excluded."""
    torch = pytest.importorskip("torch")
    from tests.models.torch_gpt import twin

    other = twin(model)
    parameters = {p.untyped_storage().data_ptr() for p in other.parameters()}
    kept = {}

    def pack(t):
        storage = t.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = (storage.nbytes(), t)        # holding t keeps the address its own
        return t

    ids = torch.from_numpy(ids)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        torch.nn.functional.cross_entropy(other(ids).flatten(0, 1), ids.flatten())
    return sum(nbytes for nbytes, _ in kept.values())


@pytest.mark.oracle
@pytest.mark.parametrize("layers, width, heads, batch, tokens", SIZES)
def test_no_more_than_pytorch(layers, width, heads, batch, tokens):
    model = mg.models.GPT(mg.models.GPTConfig(88, tokens, width, layers, heads))
    ids = np.random.default_rng(0).integers(0, 88, (batch, tokens))
    ours = mg.graph_stats(F.cross_entropy(model(ids).reshape(-1, 88), ids.reshape(-1))).saved_bytes
    theirs = torch_saved(model, ids)
    assert 0.5 * theirs < ours <= theirs
