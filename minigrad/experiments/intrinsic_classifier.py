"""A small classifier for the intrinsic dimension: from a word's letters to the vowel from which it rhymes.

Input: the first and the last 6 letters, one of 27 each · output: one of the 15 vowels. A pretrained start has learned
another question before, the first vowel of other words; its last layer is new, as always with a new question. A random
start has learned nothing.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

import minigrad as mg
from minigrad import nn, peft, tasks
from minigrad.backend import host
from minigrad.nn import functional as F

LETTERS, ENDS, HIDDEN = 27, 6, 48
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
TRAINED, TESTED, PRETRAINED = 2000, 1000, 8000      # words
STEPS, PRETRAINING = 150, 300


def encode(words) -> np.ndarray:
    """Words as one-hot letters (N, 12·27), float32; short ones padded in the middle.

    >>> float(encode(["cat"]).sum())
    12.0
    """
    x = np.zeros((len(words), 2 * ENDS, LETTERS), dtype=np.float32)
    for row, word in zip(x, words, strict=True):
        places = word[:ENDS].ljust(ENDS, "`") + word[-ENDS:].rjust(ENDS, "`")       # "`" comes just before "a"
        row[np.arange(2 * ENDS), [ord(c) - ord("`") for c in places]] = 1
    return x.reshape(len(words), -1)


@lru_cache(maxsize=1)
def data() -> dict:
    """{split: (inputs, vowels)}: "train", "test" and "validation" of the question; the other one, on other words, "before"."""
    rhyme, plain = tasks.get("rhyme"), tasks.get("pronounce")

    def question(task, split, first, last, which):
        pairs = [(word, vowels[which]) for word, answers in task.examples(split)[first:last]
                 if (vowels := [s for s in answers[0] if s in VOWELS])]
        return encode([word for word, _ in pairs]), np.array([VOWELS.index(vowel) for _, vowel in pairs])

    return {"train": question(rhyme, "adapt", 0, TRAINED, 0), "test": question(rhyme, "test", 0, TESTED, 0),
            "validation": question(rhyme, "validation", 0, TESTED, 0),
            "before": question(plain, "adapt", TRAINED, TRAINED + PRETRAINED, 0)}


def network(seed: int) -> nn.Sequential:
    """The classifier with its own random start: 324 → 48 → 15, about 16,000 numbers."""
    host.manual_seed(seed)
    return nn.Sequential(nn.Linear(2 * ENDS * LETTERS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(VOWELS)))


@lru_cache(maxsize=16)
def start(kind: str, seed: int) -> nn.Sequential:
    """The classifier to start from: kind "random", or "pretrained" on the other question."""
    model = network(seed)
    if kind == "pretrained":
        adapted = peft.apply(model, peft.FullFineTuning())
        train(adapted, data()["before"], 3e-3, PRETRAINING, seed)
        body, model = adapted.merge_and_unload(), network(seed + 1000)
        getattr(model, "0").load_state_dict(getattr(body, "0").state_dict())       # the last layer stays new
    return model


def train(adapted, examples, lr: float, steps: int, seed: int, batch_size: int = 256, tick=lambda work: None) -> None:
    """AdamW on batches drawn at random; only what the method trains."""
    x, y = examples
    rng = np.random.default_rng([seed, 2])
    optimizer = mg.optim.AdamW(adapted.param_groups(lr), lr=lr, weight_decay=0.0)
    for _ in range(steps):
        chosen = rng.integers(0, len(y), batch_size)
        F.cross_entropy(adapted(mg.tensor(x[chosen])), y[chosen]).backward()        # (256, 324) -> (256, 15)
        optimizer.step()
        optimizer.zero_grad()
        tick(1)


def score(model, examples) -> float:
    """The share of words whose vowel is right."""
    x, y = examples
    with mg.no_grad():
        return float((mg.to_numpy(model(mg.tensor(x))).argmax(axis=1) == y).mean())
