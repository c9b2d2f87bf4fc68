"""Examples to sequences, sequences to padded batches.

Inputs and targets are the same sequence, one step apart; -100 marks what bears no loss (the prompt and the padding):

    sequence   BOS  c    a    t    SEP  K    AE   T    END
    ids        BOS  c    a    t    SEP  K    AE   T
    targets    -100 -100 -100 -100 K    AE   T    END
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

IGNORE = -100
BATCHES_PER_CHUNK = 50          # large enough to find neighbors of equal length, small enough to mix well


class Sequence(NamedTuple):
    """One encoded example: `ids`, a 1-D int64 array, and `target_start`, the index of the first answer symbol.

    >>> Sequence(np.array([1, 4, 2, 31, 3]), target_start=3).target_start
    3
    """

    ids: np.ndarray
    target_start: int


def encode_examples(tokenizer, examples, rng=None, *, pick="first", max_length=None):
    """Encode (word, accepted answers) pairs as `BOS letters SEP answer END`: a list of `Sequence`, in the same order.

    Of several accepted answers, pick="first" trains on the first listed and pick="random" draws one with `rng`, a NumPy
    Generator. Raises ValueError, naming the word, for letters or symbols that the tokenizer does not know, and for a
    sequence of which the model would see more than `max_length` tokens.

    >>> from minigrad.tasks.tokenizer import Tokenizer
    >>> [sequence] = encode_examples(Tokenizer(), [("cat", [["K", "AE", "T"]])])
    >>> sequence.ids.tolist(), sequence.target_start
    ([1, 6, 4, 23, 2, 49, 31, 60, 3], 5)
    """
    if pick not in ("first", "random"):
        raise ValueError(f"pick must be 'first' or 'random', got {pick!r}")
    if pick == "random" and rng is None:
        raise ValueError("pick='random' draws an answer for each word and needs rng, a NumPy Generator")
    sequences = []
    for word, accepted in examples:
        try:
            answer = accepted[0 if pick == "first" or len(accepted) == 1 else int(rng.integers(len(accepted)))]
            prompt, target = tokenizer.encode_source(word), tokenizer.encode_target(answer)
        except (ValueError, IndexError) as error:
            raise ValueError(f"cannot encode the example {word!r}: {error}") from None
        length = len(prompt) + len(target) - 1      # END is a target only, never an input
        if max_length is not None and length > max_length:
            raise ValueError(f"the example {word!r} is {length} tokens long, the model takes at most {max_length}; "
                             "leave the word out or shorten its target")
        sequences.append(Sequence(np.array(prompt + target, dtype=np.int64), len(prompt)))
    return sequences


@dataclass(frozen=True)
class Batch:
    """What one training step sees: `ids` and `targets`, int64 (B, T), and `indices` (B,), which sequences they are.

    Shorter rows are padded on the right: ids with the tokenizer's PAD, targets with -100.

    >>> batch = next(iter(Batches([Sequence(np.array([1, 4, 2, 31, 3]), 3)], batch_size=1, rng=0)))
    >>> batch.ids.tolist(), batch.targets.tolist()
    ([[1, 4, 2, 31]], [[-100, -100, 31, 3]])
    """

    ids: np.ndarray
    targets: np.ndarray
    indices: np.ndarray

    @property
    def target_tokens(self):
        """How many positions bear loss: weigh a mean loss by this to average over batches.

        >>> next(iter(Batches([Sequence(np.array([1, 4, 2, 31, 3]), 3)], batch_size=1, rng=0))).target_tokens
        2
        """
        return int((self.targets != IGNORE).sum())


class Batches:
    """Shuffled batches of similar length; each pass over it is one epoch and yields every sequence exactly once.

    With bucket=True an epoch is shuffled, cut into chunks of 50 batches, each chunk is sorted by length and cut into
    batches, and the batches are shuffled again: little padding, still random. bucket=False only shuffles; shuffle=False
    keeps the order (for evaluation). `rng` is a seed or a NumPy Generator, from which a private one is drawn, so that
    nothing else that draws from it can change the order. `state_dict` may be taken after any batch: a restored object
    goes on with the next one.

    >>> sequences = [Sequence(np.array([1] + [4] * n + [2, 31, 3]), n + 2) for n in range(1, 8)]
    >>> batches = Batches(sequences, batch_size=3, rng=0)
    >>> len(batches), sorted(int(i) for batch in batches for i in batch.indices)
    (3, [0, 1, 2, 3, 4, 5, 6])
    """

    def __init__(self, sequences, batch_size, rng=0, *, bucket=True, shuffle=True, pad_id=0):
        if not len(sequences):
            raise ValueError("no sequences to make batches of")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size, self.bucket, self.shuffle, self._pad_id = int(batch_size), bucket, shuffle, pad_id
        self._lengths = np.array([len(ids) for ids, _ in sequences])                        # (N,)
        self._starts = np.array([start for _, start in sequences])                          # (N,)
        # All rows padded once, in int32: an epoch then needs no Python loop over words.
        self._ids = np.full((len(sequences), self._lengths.max()), pad_id, dtype=np.int32)  # (N, longest)
        for row, (ids, _) in zip(self._ids, sequences, strict=True):
            row[:len(ids)] = ids
        if not isinstance(rng, np.random.Generator):
            rng = np.random.default_rng(rng)
        self._rng = np.random.default_rng(rng.integers(2**32, size=8))
        self.epoch = -1
        self._start_epoch()

    def _start_epoch(self):
        self.epoch += 1
        self.position = 0                                           # index of the next batch in this epoch
        self._state_before = self._rng.bit_generator.state          # from here the epoch's order can be drawn again
        self._order = self._draw_order()

    def _draw_order(self):
        """This epoch's batches: a list of index arrays."""
        n, size = len(self._ids), self.batch_size
        order = self._rng.permutation(n) if self.shuffle else np.arange(n)
        if self.bucket and self.shuffle:
            chunks = [order[i:i + size * BATCHES_PER_CHUNK] for i in range(0, n, size * BATCHES_PER_CHUNK)]
            order = np.concatenate([chunk[np.argsort(self._lengths[chunk], kind="stable")] for chunk in chunks])
        batches = [order[i:i + size] for i in range(0, n, size)]
        if self.bucket and self.shuffle:
            batches = [batches[i] for i in self._rng.permutation(len(batches))]
        return batches

    def __len__(self):
        return len(self._order)

    def _make(self, indices):
        rows, lengths = self._ids[indices], self._lengths[indices]  # (B, longest), (B,)
        steps = int(lengths.max()) - 1                              # T: the last symbol is never an input
        time = np.arange(steps)                                     # (T,)
        ids, targets = rows[:, :steps].astype(np.int64), rows[:, 1:steps + 1].astype(np.int64)      # (B, T) each
        # Position t predicts symbol t + 1, so loss begins one before the answer and ends one before the last symbol.
        has_loss = (time >= self._starts[indices, None] - 1) & (time < lengths[:, None] - 1)        # (B, T)
        # A finished row's END would otherwise remain as an input where a longer row goes on; it is padding there.
        ids[time >= lengths[:, None] - 1] = self._pad_id
        targets[~has_loss] = IGNORE
        return Batch(ids, targets, indices)

    def __iter__(self):
        """The rest of the current epoch, or, when that is over, the next one."""
        if self.position == len(self):
            self._start_epoch()
        while self.position < len(self):
            self.position += 1                              # before the yield: a state taken now means "the next one"
            yield self._make(self._order[self.position - 1])

    def forever(self):
        """Batches without end, epoch after epoch; `epoch` and `position` say where it is.

        >>> from itertools import islice
        >>> batches = Batches([Sequence(np.array([1, 4, 2, 31, 3]), 3)] * 4, batch_size=2, rng=0)
        >>> len(list(islice(batches.forever(), 5))), batches.epoch
        (5, 2)
        """
        while True:
            yield from self

    def state_dict(self):
        """Where it is, as a JSON-able dictionary.

        >>> import json
        >>> batches = Batches([Sequence(np.array([1, 4, 2, 31, 3]), 3)] * 4, batch_size=2, rng=0)
        >>> batch = next(iter(batches))
        >>> json.loads(json.dumps(batches.state_dict()))["position"]
        1
        """
        here = {"epoch": self.epoch, "position": self.position, "generator": _plain(self._state_before)}
        return here | self._layout()

    def _layout(self):
        return {"sequences": len(self._ids), "tokens": int(self._lengths.sum()), "batch_size": self.batch_size,
                "bucket": bool(self.bucket), "shuffle": bool(self.shuffle)}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken. Raises ValueError when data or batch size are not the same.

        >>> batches, again = (Batches([Sequence(np.array([1, 4, 2, 31, 3]), 3)] * 4, 2, rng=seed) for seed in (0, 1))
        >>> first = next(iter(batches))
        >>> again.load_state_dict(batches.state_dict())
        >>> again.position, len(list(again))
        (1, 1)
        """
        missing = [key for key in ("epoch", "position", "generator", *self._layout()) if key not in state]
        if missing:
            raise ValueError(f"the state of the batches lacks {', '.join(missing)}")
        for key, here in self._layout().items():
            if state[key] != here:
                raise ValueError(f"cannot resume: the state was taken with {key} = {state[key]}, here it is {here}")
        if not 0 <= state["position"] <= len(self):
            raise ValueError(f"cannot resume: position {state['position']} is outside 0…{len(self)}")
        self._rng.bit_generator.state = state["generator"]
        self.epoch = state["epoch"] - 1
        self._start_epoch()
        self.position = state["position"]


def _plain(state):
    """A bit generator's state with NumPy scalars turned into Python numbers, so that JSON takes it."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state if isinstance(state, str) else int(state)
