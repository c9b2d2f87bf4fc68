"""Batches: every sequence once, aligned, and the same again after a restart."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from minigrad import tasks
from minigrad.tasks import IGNORE, Batches, Tokenizer, encode_examples

TOKENIZER = Tokenizer()
EXAMPLES = tasks.get("pronounce").examples("test")[:997]        # a prime: the last batch is never full
SEQUENCES = encode_examples(TOKENIZER, EXAMPLES)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "targets", "indices"))


def test_sequences_are_prompt_and_first_answer():
    for (word, accepted), (ids, start) in zip(EXAMPLES, SEQUENCES, strict=True):
        assert ids.dtype == np.int64 and ids.ndim == 1
        assert ids[:start].tolist() == TOKENIZER.encode_source(word)
        assert TOKENIZER.decode(ids[start:]) == accepted[0] and ids[-1] == TOKENIZER.end_id


def test_random_pick_draws_every_answer_reproducibly():
    example = [("either", [["IY", "DH", "ER"], ["AY", "DH", "ER"]])] * 50
    def drawn(seed):
        sequences = encode_examples(TOKENIZER, example, np.random.default_rng(seed), pick="random")
        return [TOKENIZER.decode(ids[start:])[0] for ids, start in sequences]
    assert set(drawn(0)) == {"IY", "AY"}
    assert drawn(0) == drawn(0) != drawn(1)
    assert {TOKENIZER.decode(ids[start:])[0] for ids, start in encode_examples(TOKENIZER, example)} == {"IY"}


def test_encoding_errors_name_the_word():
    with pytest.raises(ValueError, match="'cat': unknown symbol 'XX'"):
        encode_examples(TOKENIZER, [("cat", [["XX"]])])
    with pytest.raises(ValueError, match="cannot encode the example 'Cat'"):
        encode_examples(TOKENIZER, [("Cat", [["K"]])])
    with pytest.raises(ValueError, match="cannot encode the example 'cat'"):
        encode_examples(TOKENIZER, [("cat", [])])
    with pytest.raises(ValueError, match="'cat' is 8 tokens long, the model takes at most 7"):
        encode_examples(TOKENIZER, [("cat", [["K", "AE", "T"]])], max_length=7)
    assert encode_examples(TOKENIZER, [("cat", [["K", "AE", "T"]])], max_length=8)
    with pytest.raises(ValueError, match="needs rng"):
        encode_examples(TOKENIZER, [], pick="random")
    with pytest.raises(ValueError, match="'first' or 'random'"):
        encode_examples(TOKENIZER, [], pick="last")


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 32, 2_000])
def test_each_epoch_has_every_sequence_once(bucket, batch_size):
    batches = Batches(SEQUENCES, batch_size, rng=0, bucket=bucket)
    for _ in range(2):
        seen = [batch for batch in batches]
        assert len(seen) == len(batches) == -(-997 // batch_size)
        assert Counter(int(i) for batch in seen for i in batch.indices) == Counter(range(997))


def test_targets_are_the_next_symbols_of_the_answer_and_nothing_else():
    for batch in Batches(SEQUENCES, 32, rng=0):
        assert batch.ids.shape == batch.targets.shape and batch.ids.dtype == batch.targets.dtype == np.int64
        assert batch.ids.shape[1] == max(len(SEQUENCES[i].ids) for i in batch.indices) - 1
        for ids, targets, index in zip(batch.ids, batch.targets, batch.indices, strict=True):
            sequence, start = SEQUENCES[index]
            steps = len(sequence) - 1
            assert ids[:steps].tolist() == sequence[:-1].tolist()
            assert (ids[steps:] == TOKENIZER.pad_id).all()
            assert targets[start - 1:steps].tolist() == sequence[start:].tolist()
            assert (targets[:start - 1] == IGNORE).all() and (targets[steps:] == IGNORE).all()
        assert batch.target_tokens == sum(len(SEQUENCES[i].ids) - SEQUENCES[i].target_start for i in batch.indices)


def test_padding_uses_the_given_id():
    short, long = encode_examples(TOKENIZER, [("a", [["AH"]]), ("abba", [["AE", "B", "AH"]])])
    [batch] = Batches([short, long], 2, rng=0, shuffle=False, pad_id=9)
    assert batch.ids[0].tolist() == [1, 4, 2, short.ids[3], 9, 9, 9, 9, 9]


def test_order_is_random_but_depends_on_the_seed_only():
    first, again, other = (list(Batches(SEQUENCES, 32, rng=seed)) for seed in (0, 0, 1))
    assert all(map(same, first, again))
    assert not any(map(same, first, other))
    batches = Batches(SEQUENCES, 32, rng=0)
    one, two = list(batches), list(batches)
    assert batches.epoch == 1 and not any(map(same, one, two))
    lengths = [batch.ids.shape[1] for batch in one]
    assert lengths != sorted(lengths)               # batches of one length do not come in a row
    in_order = np.concatenate([batch.indices for batch in Batches(SEQUENCES, 32, shuffle=False)])
    assert in_order.tolist() == list(range(997))


def test_a_generator_may_be_given_and_shared():
    rng = np.random.default_rng(5)
    batches = Batches(SEQUENCES, 32, rng)
    reference = list(islice(Batches(SEQUENCES, 32, np.random.default_rng(5)).forever(), 70))
    for batch, expected in zip(islice(batches.forever(), 70), reference, strict=True):
        rng.random(3)                               # somebody else draws from it
        assert same(batch, expected)


def test_bucketing_saves_padding():
    def padding(bucket):
        batches = list(Batches(SEQUENCES, 32, rng=0, bucket=bucket))
        padded = sum((batch.ids == TOKENIZER.pad_id).sum() for batch in batches)
        return padded / sum(batch.ids.size for batch in batches)
    assert padding(True) < 0.06 < 0.2 < padding(False)


@pytest.mark.parametrize("taken", [0, 1, 7, 31, 32, 33, 64, 70])        # 32 batches an epoch: ends and middles
def test_resuming_goes_on_with_the_very_next_batch(taken):
    reference = list(islice(Batches(SEQUENCES, 32, rng=3).forever(), 100))
    batches = Batches(SEQUENCES, 32, rng=3)
    stream = batches.forever()
    for expected in reference[:taken]:
        assert same(next(stream), expected)
    state = json.loads(json.dumps(batches.state_dict()))
    next(stream)                                    # going on must not change a state that was taken

    resumed = Batches(SEQUENCES, 32, rng=99)
    list(islice(resumed.forever(), 5))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state and resumed.epoch == max(taken - 1, 0) // 32
    rest = list(islice(resumed.forever(), 100 - taken))
    assert all(map(same, rest, reference[taken:]))
    assert len(rest) == 100 - taken


def test_breaking_off_and_coming_back_finishes_the_epoch():
    batches = Batches(SEQUENCES, 32, rng=0)
    seen = [int(i) for batch in islice(batches, 10) for i in batch.indices]
    seen += [int(i) for batch in batches for i in batch.indices]
    assert sorted(seen) == list(range(997)) and batches.epoch == 0


@pytest.mark.parametrize("change, message", [
    ({"sequences": 3}, "sequences = 3, here it is 997"), ({"batch_size": 8}, "batch_size = 8, here it is 32"),
    ({"bucket": False}, "bucket = False"), ({"tokens": 1}, "tokens = 1"),
    ({"position": 33}, "position 33 is outside 0…32"),
])
def test_resuming_with_other_data_is_refused(change, message):
    batches = Batches(SEQUENCES, 32, rng=0)
    with pytest.raises(ValueError, match=message):
        batches.load_state_dict(batches.state_dict() | change)
    with pytest.raises(ValueError, match="lacks generator"):
        batches.load_state_dict({key: value for key, value in batches.state_dict().items() if key != "generator"})


def test_nothing_to_batch():
    with pytest.raises(ValueError, match="no sequences"):
        Batches([], 32)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Batches(SEQUENCES, 0)
