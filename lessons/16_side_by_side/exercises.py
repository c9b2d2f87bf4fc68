"""Lesson 16: comparing methods so that the numbers mean something. `pytest lessons/16_side_by_side` checks it.

Answers are lists of symbols, ["N", "EY", "SH", "AH", "N"]; a word may have several accepted ones. Shares lie in 0 … 1.
"""
import numpy as np

# Student's t: 97.5 % of the distribution lie below. The key is the degrees of freedom, one less than the number of values.
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def edit_distance(a, b):
    """The least number of insertions, deletions and replacements of one symbol that turn list a into list b. An int."""
    # TODO 16.1: delete the next line and write edit_distance (about 7 lines).
    raise NotImplementedError("16.1 edit_distance")


def error_rate(predictions, accepted, distance):
    """Errors per symbol: each prediction's distance to the nearest of its accepted answers, over those answers' lengths.

    Both are summed over all words before dividing; of equally near answers the first counts. distance(a, b) is given.
    ValueError when there are not as many predictions as lists of accepted answers.
    """
    # TODO 16.2: delete the next line and write error_rate (about 6 lines).
    raise NotImplementedError("16.2 error_rate")


def interval(values):
    """(mean, half width of its 95 % t-interval, half width of the 95 % interval for one more value) of 2 to 10 values.

    With n values and their standard deviation s (divided by n − 1), t from T975:  t·s/√n  and  t·s·√(1 + 1/n).
    """
    # TODO 16.3: delete the next line and write interval (about 3 lines).
    raise NotImplementedError("16.3 interval")


def paired(a, b):
    """(mean, half width of its 95 % t-interval) of the differences a − b, seed by seed.   a, b: {seed: score}

    Only seeds that both have can be paired; with fewer than two of them ValueError.
    """
    # TODO 16.4: delete the next line and write paired (about 5 lines).
    raise NotImplementedError("16.4 paired")


def choose_rate(scores):
    """The learning rate with the highest mean score; of equal ones the smallest.   scores: {rate: [score of each seed]}

    The scores are of validation words. Is the best the smallest or the largest rate tried, a better one may lie beyond:
    ValueError.
    """
    # TODO 16.5: delete the next line and write choose_rate (about 5 lines).
    raise NotImplementedError("16.5 choose_rate")


def equal_budget(budget, d, n_layers):
    """(rank, bottleneck, length): the largest LoRA, adapter and prefix that train at most `budget` numbers each.

    LoRA on W_q and W_v of every block (A and B each); two adapters per block, with biases; `length` keys and values in
    every block.
    """
    # TODO 16.6: delete the next line and write equal_budget (about 4 lines).
    raise NotImplementedError("16.6 equal_budget")
