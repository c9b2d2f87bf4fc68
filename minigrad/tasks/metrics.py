"""How good an answer is: exactly right or not, and if not, how many symbols away.

Predictions are lists of symbols; `accepted` gives, for each, the list of answers that count as right.
"""

import numpy as np


def _check(predictions, accepted):
    if len(predictions) != len(accepted):
        raise ValueError(f"{len(predictions)} predictions but {len(accepted)} lists of accepted answers: "
                         "needed one list per prediction")
    if not len(predictions):
        raise ValueError("no predictions to score")
    for i, answers in enumerate(accepted):
        if not len(answers):
            raise ValueError(f"word number {i} has no accepted answer; leave it out of the evaluation")
        if isinstance(predictions[i], str) or isinstance(answers[0], str):
            raise TypeError(f"word number {i}: a prediction is a list of symbols, and its accepted answers are a list "
                            f"of such lists; got {predictions[i]!r} and {answers!r}")


def exact_match(predictions, accepted):
    """The share of predictions equal to one of their accepted answers, between 0 and 1.

    >>> exact_match([["AE", "T"], ["B"]], [[["AE", "T"], ["EY", "T"]], [["B", "IY"]]])
    0.5
    """
    _check(predictions, accepted)
    right = sum(list(answer) in [list(one) for one in answers]
                for answer, answers in zip(predictions, accepted, strict=True))
    return right / len(predictions)


def edit_distance(a, b):
    """The least number of insertions, deletions and substitutions that turn one sequence into the other (Levenshtein).

    >>> edit_distance("kitten", "sitting"), edit_distance(["AE", "T"], ["K", "AE", "T"])
    (3, 1)
    """
    row = list(range(len(b) + 1))                   # row[j]: from the first i symbols of a to the first j of b
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def edit_distances(pairs):
    """`edit_distance` of many pairs at once: an int64 array (N,). One NumPy step per symbol instead of N Python loops.

    >>> edit_distances([("kitten", "sitting"), ("", "ab")]).tolist()
    [3, 2]
    """
    pairs = list(pairs)
    if not pairs:
        return np.zeros(0, dtype=np.int64)
    codes = {}                                      # symbol -> number; 0 pads the left side, -1 the right: never equal
    numbers = [[[codes.setdefault(symbol, len(codes) + 1) for symbol in side] for side in pair] for pair in pairs]
    n = len(pairs)
    len_a = np.array([len(a) for a, _ in numbers])                                          # (N,)
    len_b = np.array([len(b) for _, b in numbers])                                          # (N,)
    left = np.zeros((n, len_a.max()), dtype=np.int64)                                       # (N, A)
    right = np.full((n, len_b.max()), -1, dtype=np.int64)                                   # (N, B)
    for i, (a, b) in enumerate(numbers):
        left[i, :len(a)] = a
        right[i, :len(b)] = b
    columns = np.arange(right.shape[1] + 1)                                                 # (B+1,)
    row = np.tile(columns, (n, 1))                                                          # (N, B+1)
    distances = row[np.arange(n), len_b]            # right for empty a; the others are overwritten below
    for i in range(left.shape[1]):
        candidate = np.empty_like(row)
        candidate[:, 0] = i + 1
        candidate[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (left[:, i:i + 1] != right))
        # An insertion costs 1 per column, so best[j] = min over k ≤ j of candidate[k] + (j - k): a running minimum.
        row = np.minimum.accumulate(candidate - columns, axis=1) + columns                  # (N, B+1)
        ends = len_a == i + 1
        distances[ends] = row[ends, len_b[ends]]
    return distances


def phoneme_error_rate(predictions, accepted):
    """Edit distance to the nearest accepted answer ÷ that answer's length, both summed over words before dividing.

    Of several nearest answers the first listed counts. 0 is perfect; above 1 is possible (long wrong answers).

    >>> phoneme_error_rate([["K", "AE"], ["B", "IY"]], [[["K", "AE", "T"], ["K", "EY", "T"]], [["B", "IY"]]])
    0.2
    """
    _check(predictions, accepted)
    pairs = [(answer, one) for answer, answers in zip(predictions, accepted, strict=True) for one in answers]
    distances = edit_distances(pairs)
    errors = symbols = start = 0
    for answers in accepted:
        nearest = start + int(np.argmin(distances[start:start + len(answers)]))     # argmin: the first of equals
        errors += int(distances[nearest])
        symbols += len(pairs[nearest][1])
        start += len(answers)
    if not symbols:
        raise ValueError("every nearest accepted answer is empty; there is nothing to divide by")
    return errors / symbols
