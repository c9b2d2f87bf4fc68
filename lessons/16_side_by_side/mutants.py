"""Wrong answers to the exercises of lesson 16, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("16.1", "compares place by place", "You compare symbol with symbol at the same place. One missing sound at the beginning then makes everything after it wrong; "
           "insertions and deletions are edits too.", '''
def edit_distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
'''),
    Mutant("16.1", "counts a replacement twice", "A replacement is one edit, not a deletion and an insertion.", '''
def edit_distance(a, b):
    D = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    D[:, 0], D[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1, D[i - 1, j - 1] + 2 * (a[i - 1] != b[j - 1]))
    return int(D[-1, -1])
'''),
    Mutant("16.1", "leaves the border at zero", "The first row and column of the table are not zero: turning i symbols into nothing takes i deletions.", '''
def edit_distance(a, b):
    D = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1, D[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return int(D[-1, -1])
'''),
    Mutant("16.1", "never keeps a symbol", "Equal symbols cost nothing: then the cell is the one diagonally before it.", '''
def edit_distance(a, b):
    D = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    D[:, 0], D[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            D[i, j] = 1 + min(D[i - 1, j], D[i, j - 1], D[i - 1, j - 1])
    return int(D[-1, -1])
'''),
    Mutant("16.1", "looks at the sets", "You compare which symbols occur. Their order and how often they occur count as well.", '''
def edit_distance(a, b):
    return len(set(a) ^ set(b))
'''),
    Mutant("16.1", "forgets to insert", "The third cell is missing: D[i, j−1] + 1, a symbol of b inserted.", '''
def edit_distance(a, b):
    D = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    D[:, 0], D[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            D[i, j] = min(D[i - 1, j] + 1, D[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return int(D[-1, -1])
'''),
    Mutant("16.2", "takes the first answer", "You compare with the first accepted answer only. A word may be read in several ways; the nearest one counts.", '''
def error_rate(predictions, accepted, distance):
    errors = symbols = 0
    for answer, answers in zip(predictions, accepted, strict=True):
        errors += distance(answer, answers[0])
        symbols += len(answers[0])
    return errors / symbols
'''),
    Mutant("16.2", "averages the words' rates", "You average the rate of each word, so an error in a short word weighs more than one in a long word. Sum errors and symbols first.", '''
def error_rate(predictions, accepted, distance):
    rates = []
    for answer, answers in zip(predictions, accepted, strict=True):
        nearest = min(answers, key=lambda one: distance(answer, one))
        rates.append(distance(answer, nearest) / len(nearest))
    return sum(rates) / len(rates)
'''),
    Mutant("16.2", "divides by the prediction", "Divide by the length of the right answer, not of the prediction: a model that writes more would look better.", '''
def error_rate(predictions, accepted, distance):
    errors = symbols = 0
    for answer, answers in zip(predictions, accepted, strict=True):
        errors += min(distance(answer, one) for one in answers)
        symbols += len(answer)
    return errors / symbols
'''),
    Mutant("16.2", "drops what is left over", "zip stops at the end of the shorter list, so words vanish from the score without a word. Say strict=True.", '''
def error_rate(predictions, accepted, distance):
    errors = symbols = 0
    for answer, answers in zip(predictions, accepted, strict=False):
        nearest = min(answers, key=lambda one: distance(answer, one))
        errors += distance(answer, nearest)
        symbols += len(nearest)
    return errors / symbols
'''),
    Mutant("16.2", "counts wrong words", "That is the share of words with an error. The error rate counts symbols: a near miss is better than nonsense.", '''
def error_rate(predictions, accepted, distance):
    wrong = 0
    for answer, answers in zip(predictions, accepted, strict=True):
        wrong += min(distance(answer, one) for one in answers) > 0
    return wrong / len(predictions)
'''),
    Mutant("16.2", "takes the farthest", "Of several accepted answers you took the one that is farthest away.", '''
def error_rate(predictions, accepted, distance):
    errors = symbols = 0
    for answer, answers in zip(predictions, accepted, strict=True):
        nearest = max(answers, key=lambda one: distance(answer, one))
        errors += distance(answer, nearest)
        symbols += len(nearest)
    return errors / symbols
'''),
    Mutant("16.3", "divides by n", "Your standard deviation divides by n. The mean was fitted to the same values; n − 1 makes up for it: ddof=1.", '''
def interval(values):
    n = len(values)
    ts = T975[n - 1] * np.std(values)
    return np.mean(values), ts / np.sqrt(n), ts * np.sqrt(1 + 1 / n)
'''),
    Mutant("16.3", "takes 1.96", "1.96 is for a known spread, or for very many values. With three values t is 4.3: a few seeds know little about their own spread.", '''
def interval(values):
    n = len(values)
    ts = 1.96 * np.std(values, ddof=1)
    return np.mean(values), ts / np.sqrt(n), ts * np.sqrt(1 + 1 / n)
'''),
    Mutant("16.3", "looks up n", "The degrees of freedom are n − 1: one is used up by the mean.", '''
def interval(values):
    n = len(values)
    ts = T975.get(n, 2.228) * np.std(values, ddof=1)
    return np.mean(values), ts / np.sqrt(n), ts * np.sqrt(1 + 1 / n)
'''),
    Mutant("16.3", "gives the spread of the values", "Your first half width lacks 1/√n. The mean of n values is known better than a single one.", '''
def interval(values):
    n = len(values)
    ts = T975[n - 1] * np.std(values, ddof=1)
    return np.mean(values), ts, ts * np.sqrt(1 + 1 / n)
'''),
    Mutant("16.3", "takes one more run for the mean", "One more run is not as certain as the mean: it has a spread of its own, hence √(1 + 1/n).", '''
def interval(values):
    n = len(values)
    ts = T975[n - 1] * np.std(values, ddof=1)
    return np.mean(values), ts / np.sqrt(n), ts / np.sqrt(n)
'''),
    Mutant("16.3", "takes the standard error", "That is the standard error. A 95 % interval is t times as wide.", '''
def interval(values):
    n = len(values)
    s = np.std(values, ddof=1)
    return np.mean(values), s / np.sqrt(n), s * np.sqrt(1 + 1 / n)
'''),
    Mutant("16.4", "pairs by order", "You paired the scores in the order in which they are stored. Pair them by seed: only the same seed saw the same words.", '''
def paired(a, b):
    differences = [x - y for x, y in zip(a.values(), b.values(), strict=False)]
    n = len(differences)
    if len(set(a) & set(b)) < 2:
        raise ValueError("too few")
    return np.mean(differences), T975[n - 1] * np.std(differences, ddof=1) / np.sqrt(n)
'''),
    Mutant("16.4", "does not pair", "You took the difference of two means and added up their spreads. What a seed does to both methods alike then counts as noise; "
           "take the differences first.", '''
def paired(a, b):
    seeds = [s for s in a if s in b]
    n = len(seeds)
    if n < 2:
        raise ValueError("too few")
    x, y = [a[s] for s in seeds], [b[s] for s in seeds]
    s = np.sqrt(np.var(x, ddof=1) + np.var(y, ddof=1))
    return np.mean(x) - np.mean(y), T975[n - 1] * s / np.sqrt(n)
'''),
    Mutant("16.4", "subtracts the other way", "The sign is turned: a − b is positive where a is better.", '''
def paired(a, b):
    differences = [b[seed] - a[seed] for seed in a if seed in b]
    n = len(differences)
    if n < 2:
        raise ValueError("too few")
    return np.mean(differences), T975[n - 1] * np.std(differences, ddof=1) / np.sqrt(n)
'''),
    Mutant("16.4", "is content with one", "One difference has no spread, so there is no interval: raise ValueError.", '''
def paired(a, b):
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    n = len(differences)
    if n < 2:
        return np.mean(differences), 0.0
    return np.mean(differences), T975[n - 1] * np.std(differences, ddof=1) / np.sqrt(n)
'''),
    Mutant("16.4", "forgets the root of n", "The interval is that of a mean: divide by √n.", '''
def paired(a, b):
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    n = len(differences)
    if n < 2:
        raise ValueError("too few")
    return np.mean(differences), T975[n - 1] * np.std(differences, ddof=1)
'''),
    Mutant("16.4", "takes sizes", "You took the sizes of the differences. A seed on which b is better must count against a.", '''
def paired(a, b):
    d = np.array([abs(a[s] - b[s]) for s in a if s in b])
    if len(d) < 2:
        raise ValueError("a paired comparison needs two common seeds or more")
    return d.mean(), T975[len(d) - 1] * d.std(ddof=1) / np.sqrt(len(d))
'''),
    Mutant("16.5", "takes the luckiest run", "You chose the rate of the single best run. One lucky seed is no reason; compare means.", '''
def choose_rate(scores):
    rates = sorted(scores)
    best = max(rates, key=lambda rate: max(scores[rate]))
    if best in (rates[0], rates[-1]):
        raise ValueError("at the end")
    return best
'''),
    Mutant("16.5", "is content with the end", "The best rate is the smallest or largest that was tried. Perhaps a better one lies beyond, so the grid was too narrow: ValueError.", '''
def choose_rate(scores):
    return max(sorted(scores), key=lambda rate: np.mean(scores[rate]))
'''),
    Mutant("16.5", "takes the last of equals", "Of rates that are equally good the smallest was asked for; a smaller one is farther from blowing up.", '''
def choose_rate(scores):
    rates = sorted(scores)
    best = max(rates[::-1], key=lambda rate: np.mean(scores[rate]))
    if best in (rates[0], rates[-1]):
        raise ValueError("at the end")
    return best
'''),
    Mutant("16.5", "adds instead of averaging", "You summed the scores; rates that were tried with more seeds then look better. Take means.", '''
def choose_rate(scores):
    rates = sorted(scores)
    best = max(rates, key=lambda rate: sum(scores[rate]))
    if best in (rates[0], rates[-1]):
        raise ValueError("at the end")
    return best
'''),
    Mutant("16.5", "forgets the lower end", "You look at the upper end alone. The smallest rate tried may be too large as well.", '''
def choose_rate(scores):
    rates = sorted(scores)
    best = max(rates, key=lambda rate: np.mean(scores[rate]))
    if best == rates[-1]:
        raise ValueError("at the end")
    return best
'''),
    Mutant("16.6", "forgets B", "LoRA has A and B for each of W_q and W_v: four thin matrices in a block.", '''
def equal_budget(budget, d, n_layers):
    return (budget // (n_layers * 2 * d), (budget - 2 * n_layers * d) // (2 * n_layers * (2 * d + 1)), budget // (n_layers * 2 * d))
'''),
    Mutant("16.6", "forgets the adapter's biases", "An adapter of bottleneck b has 2db weights and b + d biases, and a block has two adapters.", '''
def equal_budget(budget, d, n_layers):
    return budget // (n_layers * 4 * d), budget // (2 * n_layers * 2 * d), budget // (n_layers * 2 * d)
'''),
    Mutant("16.6", "puts one adapter into a block", "There are two adapters in each block.", '''
def equal_budget(budget, d, n_layers):
    return budget // (n_layers * 4 * d), (budget - n_layers * d) // (n_layers * (2 * d + 1)), budget // (n_layers * 2 * d)
'''),
    Mutant("16.6", "counts keys only", "A prefix has keys and values in every block: 2·d numbers per position.", '''
def equal_budget(budget, d, n_layers):
    return budget // (n_layers * 4 * d), (budget - 2 * n_layers * d) // (2 * n_layers * (2 * d + 1)), budget // (n_layers * d)
'''),
    Mutant("16.6", "rounds up", "You rounded up: that one trains more than the budget.", '''
def equal_budget(budget, d, n_layers):
    return (-(-budget // (n_layers * 4 * d)), -(-(budget - 2 * n_layers * d) // (2 * n_layers * (2 * d + 1))), -(-budget // (n_layers * 2 * d)))
'''),
]

ALLOWED = {
    "edit_distance: np.zeros((len(a) + 1, len(b) + 1), dtype=int) -> np.ones((len(a) + 1, len(b) + 1), dtype=int)":
        "every cell of the table is written before it is read",
}
