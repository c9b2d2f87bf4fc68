"""A model and data small enough that a hundred steps take a moment."""
from __future__ import annotations

import minigrad as mg
from minigrad import pretrained, tasks

WORDS = [("cat", [["K", "AE", "T"]]), ("dog", [["D", "AO", "G"]]), ("either", [["IY", "DH", "ER"], ["AY", "DH", "ER"]]),
         ("on", [["AA", "N"]]), ("tea", [["T", "IY"]]), ("shoe", [["SH", "UW"]]), ("bee", [["B", "IY"]])]
SIZES = {"context": 64, "d_model": 16, "n_layers": 1, "n_heads": 2}


def tiny_model(**changes):
    """A GPT of 1 layer and width 16 over the tasks' vocabulary."""
    return mg.models.GPT(mg.models.GPTConfig(tasks.Tokenizer().vocab_size, **{**SIZES, **changes}))


def tiny_batches(batch_size: int = 4, seed: int = 0, words=WORDS):
    """Batches of a few words."""
    return tasks.Batches(tasks.encode_examples(tasks.Tokenizer(), words), batch_size, seed)


def save_tiny_base(folder, **changes):
    """A tiny, untrained base model in a file; its path."""
    mg.manual_seed(0)
    return pretrained.save(tiny_model(**changes), tasks.Tokenizer(), folder / "tiny.safetensors", seed=0)
