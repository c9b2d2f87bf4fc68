"""The checks of lesson 16. They import nothing of yours: `ex` is the file under test."""
import math
from functools import cache

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, rng, same, unchanged
from minigrad.experiments.statistics import summarize


def by_recursion(a, b):
    """The distance by its definition: what the last symbols can do, and the rest."""
    @cache
    def d(i, j):
        if not i or not j:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))
    return d(len(a), len(b))


@exercise("16.1")
@cases(a=["kitten", "", "abc", "flaw", "a b c d", "gambol", "xyxyx", "AAAB", "ab",
                                                                              "abcdefghijklmnop"], b=["sitting", "word", "", "lawn", "a c d e", "gumbo", "yxyxyx", "BAAA", "ba", "ponmlkjihgfedcba"])
def test_edit_distance(ex, a, b):
    a, b = list(a), list(b)
    before = a[:], b[:]
    got = ex.edit_distance(a, b)
    check((a, b) == before, "edit_distance: do not change the lists you were given")
    same(got, by_recursion(tuple(a), tuple(b)), f"edit_distance of {''.join(a)!r} and {''.join(b)!r}")


@exercise("16.1")
def test_edit_distance_of_sounds(ex):
    for word, a, b in (("nation", "N EY SH AH N", "N EY T IY AH N"), ("thorough", "TH ER OW", "TH AO R OW"), ("phone", "F OW N", "F OW N")):
        a, b = a.split(), b.split()
        same(ex.edit_distance(a, b), by_recursion(tuple(a), tuple(b)), f"edit_distance of {a} and {b} ({word!r})")


def hamming(a, b):
    """A distance of the check's own: places that differ, and what is longer."""
    return sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))


PREDICTIONS = [list("abc"), list("xy"), list("q"), list("abcd"), []]
ACCEPTED = [[list("abd"), list("abcef")], [list("xyz"), list("x"), list("xy")], [list("rstu")], [list("zzzz"), list("abzd")], [list("mn")]]


@exercise("16.2")
@cases(n=[1, 2, 3, 4, 5])
def test_error_rate(ex, n):
    errors = symbols = 0
    for answer, answers in zip(PREDICTIONS[:n], ACCEPTED[:n], strict=True):
        distances = [hamming(answer, one) for one in answers]
        errors, symbols = errors + min(distances), symbols + len(answers[distances.index(min(distances))])
    p, a = PREDICTIONS[:n], ACCEPTED[:n]
    with unchanged(p, a):
        got = ex.error_rate(p, a, hamming)
    same(got, errors / symbols, f"error_rate of {n} words")


@exercise("16.2")
def test_error_rate_above_one(ex):
    same(ex.error_rate([list("abcdef")], [[list("xy")]], hamming), 3.0, "error_rate of 'abcdef' with 'xy' accepted: six edits, two symbols")


@exercise("16.2")
def test_error_rate_takes_the_first_of_equals(ex):
    same(ex.error_rate([list("ab")], [[list("a"), list("abc")]], hamming), 1.0, "error_rate of 'ab' with 'a' and 'abc' accepted")
    same(ex.error_rate([list("ab")], [[list("abc"), list("a")]], hamming), 1 / 3, "error_rate of 'ab' with 'abc' and 'a' accepted")


@exercise("16.2")
def test_error_rate_wants_as_many(ex):
    for p, a in ((PREDICTIONS[:2], ACCEPTED[:3]), (PREDICTIONS[:3], ACCEPTED[:2])):
        try:
            got = ex.error_rate(p, a, hamming)
        except ValueError:
            continue
        fail(f"error_rate: {len(p)} predictions for {len(a)} words should be a ValueError, yours gives {got}: words are left out unseen")


SAMPLES = [[0.453, 0.464, 0.454, 0.46, 0.459], [0.3, 0.9], [0.361, 0.306, 0.272], [5.0, -1.0, 2.0, 2.5, 0.0, 7.0, 1.0, 1.0, 3.0, 4.0]]


@exercise("16.3")
@cases(values=SAMPLES)
def test_interval(ex, values):
    n = len(values)
    mean = sum(values) / n
    s = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    t = summarize(values).half * n ** 0.5 / s
    values_before = list(values)
    got = ex.interval(values)
    check(values == values_before, "interval: do not change the list you were given")
    check(isinstance(got, tuple | list) and len(got) == 3, "interval: return three numbers")
    for name, mine, want in zip(("the mean", "the half width for the mean", "the half width for one more value"), got,
                                (mean, t * s / n ** 0.5, t * s * (1 + 1 / n) ** 0.5), strict=True):
        same(mine, want, f"interval of {n} values: {name}", rtol=1e-3)


@exercise("16.4")
@cases(a=[{0: 0.5, 1: 0.6, 2: 0.4}, {4: 0.9, 7: 0.2}, {3: 1.0, 1: 2.0, 2: 4.0, 9: 8.0}, {0: 0.1, 1: 0.6, 2: 0.3}],
       b=[{2: 0.3, 0: 0.45, 1: 0.5}, {7: 0.1, 4: 0.3, 5: 0.0}, {1: 0.5, 2: 0.25, 4: 0.0, 3: 0.1}, {0: 0.2, 1: 0.4, 2: 0.6}])
def test_paired(ex, a, b):
    d = np.array([a[s] - b[s] for s in sorted(set(a) & set(b))])
    before = dict(a), dict(b)
    got = ex.paired(a, b)
    check((a, b) == before, "paired: do not change the scores you were given")
    check(isinstance(got, tuple | list) and len(got) == 2, "paired: return the pair (mean, half width)")
    same(got[0], d.mean(), f"paired, {len(d)} common seeds: the mean difference")
    same(got[1], summarize(d).half, f"paired, {len(d)} common seeds: the half width", rtol=1e-3)


@exercise("16.4")
@cases(a=[{0: 0.5, 1: 0.6}, {0: 0.5}], b=[{1: 0.5, 2: 0.4}, {1: 0.5}])
def test_paired_needs_two(ex, a, b):
    try:
        got = ex.paired(a, b)
    except ValueError:
        return
    fail(f"paired: with {len(set(a) & set(b))} common seeds there is no interval; that should be a ValueError, yours gives {got!r:.60}")


@exercise("16.5")
@cases(scores=[{0.004: [0.4, 0.44], 0.001: [0.1, 0.2], 0.002: [0.3, 0.1], 0.008: [0.5, 0.3]}, {1e-2: [0.3], 1e-3: [0.5], 1e-4: [0.2]},
               {0.3: [0.9, 0.0, 0.1], 0.1: [0.4, 0.5, 0.3], 0.05: [0.1, 0.1, 0.1]}, {8: [0.1], 4: [0.6, 0.4], 2: [0.5, 0.5], 1: [0.3]},
               {1: [0.2], 2: [0.6], 4: [0.4, 0.4], 8: [0.1]}], want=[0.004, 1e-3, 0.1, 2, 2])
def test_choose_rate(ex, scores, want):
    before = {rate: list(s) for rate, s in scores.items()}
    got = ex.choose_rate(scores)
    check(scores == before, "choose_rate: do not change the scores you were given")
    same(got, want, f"choose_rate of {scores}")


@exercise("16.5")
@cases(scores=[{0.001: [0.2], 0.002: [0.3], 0.004: [0.4]}, {0.002: [0.3], 0.001: [0.5], 0.004: [0.4]}, {0.001: [0.4]}])
def test_choose_rate_at_the_end(ex, scores):
    try:
        got = ex.choose_rate(scores)
    except ValueError:
        return
    fail(f"choose_rate: of the rates {sorted(scores)} the best is at the end, and a better one may lie beyond it; that should "
         f"be a ValueError, yours gives {got!r}")


def sizes(d, n_layers, size):
    """What a LoRA, an adapter and a prefix of this size train, from the shapes of their arrays."""
    lora = sum(math.prod(s) for s in [(size, d), (d, size)] * 2) * n_layers
    adapter = sum(math.prod(s) for s in [(size, d), (size,), (d, size), (d,)] * 2) * n_layers
    prefix = sum(math.prod(s) for s in [(size, d)] * 2) * n_layers
    return lora, adapter, prefix


@exercise("16.6")
@cases(budget=[16384, 33920, 1000, 99, 2001], d=[128, 128, 16, 3, 20], n_layers=[4, 4, 2, 2, 7])
def test_equal_budget(ex, budget, d, n_layers):
    want = [max(size for size in range(100) if sizes(d, n_layers, size)[i] <= budget) for i in range(3)]
    got = ex.equal_budget(budget, d, n_layers)
    check(isinstance(got, tuple | list) and len(got) == 3, "equal_budget: return (rank, bottleneck, length)")
    for name, mine, size in zip(("rank", "bottleneck", "length"), got, want, strict=True):
        same(mine, size, f"equal_budget({budget}, d={d}, n_layers={n_layers}): {name}")


@exercise("16.1", "16.2", "16.3", "16.4", "16.6", plug_in=True)
def test_your_comparison_of_trained_models(ex):
    """LoRA and adapters at one budget, two seeds each, trained on eight words and scored by your functions."""
    tokenizer, budget = mg.tasks.Tokenizer(), 1000
    distance, rate, summary, pair, sizes_of = (calls(f) for f in (ex.edit_distance, ex.error_rate, ex.interval, ex.paired, ex.equal_budget))
    rank, bottleneck, length = sizes_of(budget, 16, 2)
    for method, larger in ((mg.peft.LoRA(rank=rank), mg.peft.LoRA(rank=rank + 1)),
                           (mg.peft.Adapter(bottleneck=bottleneck), mg.peft.Adapter(bottleneck=bottleneck + 1)),
                           (mg.peft.PrefixTuning(length=length), mg.peft.PrefixTuning(length=length + 1))):
        n = sum(p.size for p in mg.peft.apply(engine.small_gpt(), method).trainable_parameters())
        more = sum(p.size for p in mg.peft.apply(engine.small_gpt(), larger).trainable_parameters())
        check(n <= budget < more, f"{method} trains {n} numbers and {larger} {more}; the largest that fits into {budget} was asked for")
    examples = [(word, [sounds.split()]) for word, sounds in engine.WORDS]
    scores = {}
    for name, method in (("lora", mg.peft.LoRA(rank=rank)), ("adapter", mg.peft.Adapter(bottleneck=bottleneck))):
        scores[name] = {}
        for seed in (0, 1):
            adapted = mg.peft.apply(engine.small_gpt(), method, rng=rng(seed))
            engine.train(adapted, steps=15, lr=2e-2)
            adapted.eval()
            result = mg.training.evaluate(adapted, tokenizer, examples)
            got = rate(result.predictions, [answers for _, answers in examples], distance)
            same(got, result.phoneme_error_rate, f"the error rate of {name}, seed {seed}, of what the model read")
            scores[name][seed] = got
    for name, by_seed in scores.items():
        same(summary(list(by_seed.values()))[1], summarize(by_seed.values()).half, f"the interval of {name}'s error rates", rtol=1e-3)
    differences = [scores["lora"][s] - scores["adapter"][s] for s in (0, 1)]
    same(pair(scores["lora"], scores["adapter"])[1], summarize(differences).half, "the interval of the paired differences", rtol=1e-3)
    engine.was_called(distance, rate, summary, pair, sizes_of)
