"""What a method costs in time: a training step, reading one word, reading 32. Measured after training, in one process.

The methods take turns, round after round, and the median over the rounds counts: a machine that is busy for a moment is
busy for all of them.
"""
from __future__ import annotations

import time

from minigrad import peft, training
from minigrad.experiments.adaptation import reference_batch

NEW_TOKENS = 8                                      # every reading goes on for as long: methods write answers of other lengths
CROWD = 32


def measure(model, tokenizer, task, folders: dict, *, batch_size: int = 32, rounds: int = 10, on_round=lambda: None) -> dict:
    """{method: {"step_ms", "latency1_ms", "latency1_merged_ms", "latency32_ms", "latency32_merged_ms"}}, medians.

    folders: {method: folder of its saved adapter} · a latency is the time to read the word(s) and write 8 symbols, prompt
    included · the merged ones are None where a method cannot be merged. "base" is the base model, without a step_ms.
    """
    one, crowd = _prompts(tokenizer, task)
    batch = reference_batch(tokenizer, task, batch_size)
    timed = {("base", "latency1_ms"): _reading(model, one), ("base", "latency32_ms"): _reading(model, crowd)}
    for name, folder in folders.items():
        timed[name, "step_ms"] = _stepping(peft.load(model, folder, trainable=True), batch, rounds + 1)
        adapted = peft.load(model, folder)
        timed[name, "latency1_ms"], timed[name, "latency32_ms"] = _reading(adapted, one), _reading(adapted, crowd)
        if adapted.method.mergeable:
            merged = peft.load(model, folder).merge()
            timed[name, "latency1_merged_ms"] = _reading(merged, one)
            timed[name, "latency32_merged_ms"] = _reading(merged, crowd)
    times: dict = {key: [] for key in timed}
    for number in range(rounds + 1):
        for key, action in timed.items():
            began = time.perf_counter()
            action()
            if number:                              # the first round warms caches up
                times[key].append(1e3 * (time.perf_counter() - began))
        on_round()
    costs: dict = {}
    for (name, what), values in times.items():
        costs.setdefault(name, {})[what] = sorted(values)[len(values) // 2]
    return costs


def _prompts(tokenizer, task):
    """One prompt, and 32 of the same length, which decode as one batch."""
    words = sorted((word for word, _ in task.examples("test")), key=lambda word: (abs(len(word) - 7), word))
    crowd = [tokenizer.encode_source(word) for word in words if len(word) == len(words[0])][:CROWD]
    crowd = (crowd * CROWD)[:CROWD]                 # a small file may have fewer words
    return crowd[:1], crowd


def _reading(model, prompts):
    model.eval()
    return lambda: model.generate(prompts, NEW_TOKENS)


def _stepping(adapted, batch, steps: int):
    trainer = training.Trainer(adapted, steps=steps, lr=1e-9)       # these copies are thrown away
    adapted.train()
    return lambda: trainer.step(batch)
