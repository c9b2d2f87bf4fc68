import numpy as np
import pytest

import minigrad as mg
from minigrad import peft, training
from minigrad.experiments.adaptation import make_method
from tests.training.tiny import tiny_batches, tiny_model


@pytest.mark.parametrize("name", list(peft.methods()))
def test_counts_what_is_there_and_changes_nothing(name, backend):
    model, batch = tiny_model(n_layers=2), next(iter(tiny_batches()))
    adapted = peft.apply(model, make_method(name))
    before, mode = adapted.state_dict(), adapted.training
    use = training.memory(adapted, batch)
    for key, array in adapted.state_dict().items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)
    assert adapted.training == mode and all(p.grad is None for p in adapted.parameters())
    trained = sum(p.data.nbytes for p in adapted.trainable_parameters())
    assert use.gradients == trained == 4 * use.trainable and use.optimizer == 2 * trained
    assert use.trainable == adapted.method.count(model.config)
    buffers = {id(b): b.data.nbytes for _, b in adapted.named_buffers()}     # VeRA's are shared by all layers
    assert use.weights == sum(p.data.nbytes for p in adapted.parameters()) + sum(buffers.values())
    training.fit(adapted, tiny_batches(), steps=2, lr=1e-3)     # the method has not counted the measured step
    assert use.total == use.weights + use.activations + use.gradients + use.optimizer


def test_activations_are_the_graphs():
    model, batch = tiny_model(), next(iter(tiny_batches()))
    assert training.memory(model, batch).activations == mg.graph_stats(training.loss_on(model, batch)).saved_bytes > 0


def test_cheap_methods_are_cheap():
    model, batch = tiny_model(n_layers=2), next(iter(tiny_batches()))
    full, lora, topk = (training.memory(peft.apply(model, method), batch)
                        for method in (peft.FullFineTuning(), peft.LoRA(rank=2), peft.TopK(1)))
    assert lora.activations < full.activations and topk.activations < full.activations
    assert lora.total < topk.total < full.total
