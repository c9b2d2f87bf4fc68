"""Lesson 16: comparing methods so that the numbers mean something. `pytest lessons/16_side_by_side` checks it.

Answers are lists of symbols, ["N", "EY", "SH", "AH", "N"]; a word may have several accepted ones. Shares lie in 0 … 1.
"""
import numpy as np

# Student's t: 97.5 % of the distribution lie below. The key is the degrees of freedom, one less than the number of values.
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def edit_distance(a, b):
    """The least number of insertions, deletions and replacements of one symbol that turn list a into list b. An int."""
    # <solution hint="Fill a table: D[i, j] turns the first i symbols of a into the first j of b. Which three cells does it come from?">
    D = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    D[:, 0], D[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            replace = D[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1, replace)
    return int(D[-1, -1])
    # </solution>


def error_rate(predictions, accepted, distance):
    """Errors per symbol: each prediction's distance to the nearest of its accepted answers, over those answers' lengths.

    Both are summed over all words before dividing; of equally near answers the first counts. distance(a, b) is given.
    ValueError when there are not as many predictions as lists of accepted answers.
    """
    # <solution hint="min(…, key=…) finds the nearest answer. zip drops what is left over, unless strict=True.">
    errors = symbols = 0
    for answer, answers in zip(predictions, accepted, strict=True):
        nearest = min(answers, key=lambda one: distance(answer, one))
        errors += distance(answer, nearest)
        symbols += len(nearest)
    return errors / symbols
    # </solution>


def interval(values):
    """(mean, half width of its 95 % t-interval, half width of the 95 % interval for one more value) of 2 to 10 values.

    With n values and their standard deviation s (divided by n − 1), t from T975:  t·s/√n  and  t·s·√(1 + 1/n).
    """
    # <solution hint="np.std divides by n unless ddof=1 is given.">
    n = len(values)
    ts = T975[n - 1] * np.std(values, ddof=1)
    return np.mean(values), ts / np.sqrt(n), ts * np.sqrt(1 + 1 / n)
    # </solution>


def paired(a, b):
    """(mean, half width of its 95 % t-interval) of the differences a − b, seed by seed.   a, b: {seed: score}

    Only seeds that both have can be paired; with fewer than two of them ValueError.
    """
    # <solution hint="One list of differences, then the interval of a mean as in 16.3.">
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    n = len(differences)
    if n < 2:
        raise ValueError(f"a paired comparison needs two common seeds or more; there are {n}")
    return np.mean(differences), T975[n - 1] * np.std(differences, ddof=1) / np.sqrt(n)
    # </solution>


def choose_rate(scores):
    """The learning rate with the highest mean score; of equal ones the smallest.   scores: {rate: [score of each seed]}

    The scores are of validation words. Is the best the smallest or the largest rate tried, a better one may lie beyond:
    ValueError.
    """
    # <solution hint="Sort the rates first; then max takes the first of equals.">
    rates = sorted(scores)
    best = max(rates, key=lambda rate: np.mean(scores[rate]))
    if best in (rates[0], rates[-1]):
        raise ValueError(f"the best rate, {best}, is at the end of the range: try rates beyond it")
    return best
    # </solution>


def equal_budget(budget, d, n_layers):
    """(rank, bottleneck, length): the largest LoRA, adapter and prefix that train at most `budget` numbers each.

    LoRA on W_q and W_v of every block (A and B each); two adapters per block, with biases; `length` keys and values in
    every block.
    """
    # <solution hint="Write each count as size·(numbers per unit of size) + (what is there at any size), and solve for the size.">
    rank = budget // (n_layers * 2 * 2 * d)
    bottleneck = (budget - 2 * n_layers * d) // (2 * n_layers * (2 * d + 1))
    length = budget // (n_layers * 2 * d)
    return rank, bottleneck, length
    # </solution>
