"""Wrong answers to the exercises of lesson 17, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("17.1", "starts from the beginning each time", "Every array gets the beginning of `change`. The position has to move on by the size of each array.", '''
def move(arrays, change):
    return [a + change[:a.size].reshape(a.shape) for a in arrays]
'''),
    Mutant("17.1", "writes into the model", "You changed θ₀ itself. Every step starts from θ₀ again, so it must stay as it is.", '''
def move(arrays, change):
    at = 0
    for a in arrays:
        a += change[at:at + a.size].reshape(a.shape)
        at += a.size
    return arrays
'''),
    Mutant("17.1", "forgets θ₀", "That is the change alone: θ = θ₀ + Pz.", '''
def move(arrays, change):
    moved, at = [], 0
    for a in arrays:
        moved.append(change[at:at + a.size].reshape(a.shape))
        at += a.size
    return moved
'''),
    Mutant("17.1", "counts rows", "You moved on by the length of each array, len(a), which is its number of rows. It has a.size numbers.", '''
def move(arrays, change):
    moved, at = [], 0
    for a in arrays:
        moved.append(a + change[at:at + a.size].reshape(a.shape))
        at += len(a)
    return moved
'''),
    Mutant("17.1", "reads columns first", "Your numbers run down the columns. Arrays are laid out row by row here (order 'C').", '''
def move(arrays, change):
    moved, at = [], 0
    for a in arrays:
        moved.append(a + change[at:at + a.size].reshape(a.shape, order="F"))
        at += a.size
    return moved
'''),
    Mutant("17.2", "loses what meets", "Where two columns have an entry in the same row, their contributions add up; y[rows] += … keeps the last one alone. np.add.at adds all.", '''
def sparse_project(z, rows, values, D):
    y = np.zeros(D)
    y[rows] += values * z[:, None]
    return y
'''),
    Mutant("17.2", "scales once more", "You divided by the root of k. That keeps columns of signs at length 1, but `values` has been scaled already.", '''
def sparse_project(z, rows, values, D):
    y = np.zeros(D)
    np.add.at(y, rows, values * z[:, None] / np.sqrt(rows.shape[1]))
    return y
'''),
    Mutant("17.2", "forgets z", "The entries of column j are multiplied by z[j].", '''
def sparse_project(z, rows, values, D):
    y = np.zeros(D)
    np.add.at(y, rows, values)
    return y
'''),
    Mutant("17.2", "applies the adjoint", "That gathers: it is Pᵀ, from D numbers to d. P scatters: from d numbers to D.", '''
def sparse_project(z, rows, values, D):
    y = np.resize(z, D)
    return (y[rows] * values).sum(axis=1)
'''),
    Mutant("17.3", "does not divide", "Sums and differences alone give √n·Hx. Divide by √2 in each pass, or by √n at the end.", '''
def hadamard(x):
    n, h = len(x), 1
    while h < n:
        pairs = x.reshape(-1, 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        x = np.stack([a + b, a - b], axis=1)
        h *= 2
    return x.reshape(n)
'''),
    Mutant("17.3", "divides by n", "You divided by 2 in each pass, so by n in all. With √n, H keeps lengths and is its own inverse.", '''
def hadamard(x):
    n, h = len(x), 1
    while h < n:
        pairs = x.reshape(-1, 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        x = np.stack([a + b, a - b], axis=1) / 2
        h *= 2
    return x.reshape(n)
'''),
    Mutant("17.3", "uses the new sum", "You wrote the sum over a before taking the difference, so the difference is (a + b) − b. Both need the old values.", '''
def hadamard(x):
    x, n, h = x.copy(), len(x), 1
    while h < n:
        pairs = x.reshape(-1, 2, h)
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = pairs[:, 0] - pairs[:, 1]
        x = x / np.sqrt(2)
        h *= 2
    return x
'''),
    Mutant("17.3", "writes into x", "You changed the input. Work on a copy, or make new arrays.", '''
def hadamard(x):
    n, h, y = len(x), 1, x
    while h < n:
        pairs = y.reshape(-1, 2, h)
        a, b = pairs[:, 0].copy(), pairs[:, 1].copy()
        pairs[:, 0], pairs[:, 1] = (a + b) / np.sqrt(2), (a - b) / np.sqrt(2)
        h *= 2
    return x
'''),
    Mutant("17.3", "stops after one pass", "One pass mixes neighbours only. log₂ n passes are needed until every number depends on every other.", '''
def hadamard(x):
    if len(x) == 1:
        return x
    pairs = x.reshape(-1, 2)
    a, b = pairs[:, 0], pairs[:, 1]
    return np.stack([a + b, a - b], axis=1).reshape(-1) / np.sqrt(2)
'''),
    Mutant("17.3", "subtracts the other way", "The lower right block of H is −Hₙ: the second of a pair is a − b, not b − a.", '''
def hadamard(x):
    n, h = len(x), 1
    while h < n:
        pairs = x.reshape(-1, 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        x = np.stack([a + b, b - a], axis=1) / np.sqrt(2)
        h *= 2
    return x.reshape(n)
'''),
    Mutant("17.3", "puts sums first and differences after", "You write all sums into the first half and all differences into the second. The two "
           "results of a pair take the places of that pair.", '''
def hadamard(x):
    n, h = len(x), 1
    while h < n:
        pairs = x.reshape(n // (2 * h), 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        x = np.concatenate([(a + b).reshape(-1), (a - b).reshape(-1)]) / np.sqrt(2)
        h *= 2
    return x.reshape(n)
'''),
    Mutant("17.4", "forgets c", "Without c the columns of P have other lengths, and one learning rate does not fit all d and D.", '''
def fastfood(z, B, order, G, D, H):
    x = np.zeros(len(B))
    x[:len(z)] = z
    return H(G * H(B * x)[order])[:D]
'''),
    Mutant("17.4", "uses H once", "There are two transforms. The first spreads each of the d numbers over all n, the second mixes once more after the Gaussians.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    return n / np.sqrt((G ** 2).sum() * D) * (G * H(B * x)[order])[:D]
'''),
    Mutant("17.4", "forgets the permutation", "Π is missing between the two transforms.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    return n / np.sqrt((G ** 2).sum() * D) * H(G * H(B * x))[:D]
'''),
    Mutant("17.4", "permutes the other way", "x[order] takes x[order[i]] to place i. You put x[i] to place order[i], which is the inverse.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    return n / np.sqrt((G ** 2).sum() * D) * H(G * H(B * x)[np.argsort(order)])[:D]
'''),
    Mutant("17.4", "exchanges B and G", "The signs come first and the Gaussians in the middle; you exchanged them.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    return n / np.sqrt((G ** 2).sum() * D) * H(B * H(G * x)[order])[:D]
'''),
    Mutant("17.4", "scales for n numbers", "Only D of the n numbers are kept, so less of the length is left: c has √D in it, not √n.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    return n / np.sqrt((G ** 2).sum() * n) * H(G * H(B * x)[order])[:D]
'''),
    Mutant("17.4", "multiplies by G first", "You multiply by G before Π. In HGΠHB the factor on the right acts first: B, H, Π, G, H.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    c = n / np.sqrt((G ** 2).sum() * D)
    return c * H((G * H(B * x))[order])[:D]
'''),
    Mutant("17.4", "fills up by repeating", "You repeat z until n entries are full. Then several copies of one number act; fill up with zeros.", '''
def fastfood(z, B, order, G, D, H):
    n = len(B)
    c = n / np.sqrt((G ** 2).sum() * D)
    return c * H(G * H(B * np.resize(z, n))[order])[:D]
'''),
    Mutant("17.5", "divides once more for each H", "Your gradient is too small by the factor n: you divide by √n for each H, on the way back only. H carries its "
           "√n already. A published implementation does this; Adam hides it, because it divides by the size of its gradients, and SGD hardly moves.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    c = n / np.sqrt((G ** 2).sum() * D)
    x = (G * H(x) / np.sqrt(n))[np.argsort(order)]
    return c * (B * H(x) / np.sqrt(n))[:d]
'''),
    Mutant("17.5", "forgets c", "c is part of P, so it is part of Pᵀ.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return (B * H((G * H(x))[np.argsort(order)]))[:d]
'''),
    Mutant("17.5", "goes forward", "You applied the factors in the order of P. The transpose of a product has the factors in reverse order.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return n / np.sqrt((G ** 2).sum() * D) * H(G * H(B * x)[order])[:d]
'''),
    Mutant("17.5", "does not turn the permutation", "The transpose of a permutation is its inverse: np.argsort(order).", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return n / np.sqrt((G ** 2).sum() * D) * (B * H((G * H(x))[order]))[:d]
'''),
    Mutant("17.5", "permutes before G", "In P, G comes after Π (left of it). So in Pᵀ the Gaussians come first, and then the permutation.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return n / np.sqrt((G ** 2).sum() * D) * (B * H(G * H(x)[np.argsort(order)]))[:d]
'''),
    Mutant("17.5", "takes c from d", "You computed c with d in the place of D. It is the same number as on the way there: D is the length of g.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    c = n / np.sqrt((G ** 2).sum() * d)
    return c * (B * H((G * H(x))[np.argsort(order)]))[:d]
'''),
    Mutant("17.5", "divides by c", "That would be an inverse. The transpose of a multiplication by c is a multiplication by c.", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return np.sqrt((G ** 2).sum() * D) / n * (B * H((G * H(x))[np.argsort(order)]))[:d]
'''),
    Mutant("17.5", "divides by G", "That would be an inverse. The transpose of diag(G) is diag(G).", '''
def fastfood_adjoint(g, B, order, G, d, H):
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    return n / np.sqrt((G ** 2).sum() * D) * (B * H((H(x) / G)[np.argsort(order)]))[:d]
'''),
    Mutant("17.6", "asks for a score of 0.9", "d₉₀ is relative: 90 % of what full training reaches, whatever that is.", '''
def d90(scores, full):
    reached = [d for d in scores if np.mean(scores[d]) >= 0.9]
    return min(reached) if reached else None
'''),
    Mutant("17.6", "asks for all of it", "You ask for the full score. Nine tenths of it are enough.", '''
def d90(scores, full):
    reached = [d for d in scores if np.mean(scores[d]) >= full]
    return min(reached) if reached else None
'''),
    Mutant("17.6", "takes the first", "You took the first that reaches it in the order in which they are stored; the smallest was asked for.", '''
def d90(scores, full):
    return next((d for d in scores if np.mean(scores[d]) >= 0.9 * full), None)
'''),
    Mutant("17.6", "takes the luckiest seed", "One lucky seed is not enough: compare the mean over seeds.", '''
def d90(scores, full):
    reached = [d for d in scores if max(scores[d]) >= 0.9 * full]
    return min(reached) if reached else None
'''),
    Mutant("17.6", "takes the largest tried", "Where no d reaches it, the largest tried is not the answer: it is not known yet. Return None.", '''
def d90(scores, full):
    reached = [d for d in scores if np.mean(scores[d]) >= 0.9 * full]
    return min(reached) if reached else max(scores)
'''),
]
