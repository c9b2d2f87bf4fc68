"""Activations by layer: they sum to the whole, and lie where the operations are."""
from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad.cli import main
from minigrad.training import activations_by_layer, memory


def test_they_sum_to_the_whole_and_lie_where_the_operations_are():
    ids, targets = np.random.default_rng(0).integers(0, 13, (2, 3, 7))
    batch = SimpleNamespace(ids=ids, targets=targets)
    gpt = mg.models.GPT(mg.models.GPTConfig(13, context=8, d_model=8, n_layers=2, n_heads=2))
    layers = activations_by_layer(gpt, batch)
    assert sum(layers.values()) == memory(gpt, batch).activations
    assert layers["blocks.0.mlp"] == 4 * 3 * 7 * 32                 # GELU's slope, at d_ff
    assert layers["blocks.0.mlp.down_proj"] == 4 * 3 * 7 * 32       # its input: what GELU made
    assert layers["blocks.0.norm1"] >= 4 * 3 * 7 * 8 and layers["blocks.0.attn"] > 0
    assert "forward" not in vars(gpt.blocks[0]) and gpt(ids).shape == (3, 7, 13)


def test_the_command(capsys):
    assert main(["memory", "--by-layer", "--batch-size", "2", "--method", "lora"]) == 0
    out = capsys.readouterr().out
    assert "blocks.3.mlp" in out and "with checkpoint_blocks" in out
