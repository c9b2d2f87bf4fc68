"""Wrong answers to the exercises of lesson 04, and what to tell who gives them."""
from lessons.kit import Mutant


def step(logits="x @ W.T + b", loss="((m + np.log(total))[:, 0] - logits[at_targets]).mean()", divided="g / len(targets)", before="",
         end="loss, W - lr * g.T @ x, b - lr * g.sum(axis=0)"):
    """The source of a classifier_step with some part of it changed."""
    return f"""
def classifier_step(x, targets, W, b, lr):
    logits = {logits}
    m = logits.max(axis=1, keepdims=True)
    e = np.exp(logits - m)
    total = e.sum(axis=1, keepdims=True)
    at_targets = np.arange(len(targets)), targets
    loss = {loss}
    g = e / total
    g[at_targets] -= 1
    g = {divided}{before}
    return {end}
"""


MUTANTS = [
    Mutant("04.1", "lets the exponential overflow", "e¹⁰⁰⁰ is infinite in floating point, and ∞/∞ is not a number. Take away each row's largest score "
           "first: the probabilities stay the same.", '''
def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
'''),
    Mutant("04.1", "takes one maximum for all rows", "You take away the largest score of the whole array. A row far below it becomes 0/0; each row "
           "needs its own.", '''
def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum(axis=-1, keepdims=True)
'''),
    Mutant("04.1", "normalizes the columns", "Your columns add up to 1. The classes lie along the last axis, so the rows have to.", '''
def softmax(x):
    e = np.exp(x - x.max(axis=0, keepdims=True))
    return e / e.sum(axis=0, keepdims=True)
'''),
    Mutant("04.1", "divides by the sum of everything", "All entries together add up to 1; each row has to.", '''
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum()
'''),
    Mutant("04.1", "writes into x", "x -= … changes the caller's array.", '''
def softmax(x):
    x -= x.max(axis=-1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
'''),
    Mutant("04.1", "divides the scores", "Shares of the scores themselves may be negative. Softmax takes shares of eˣ.", '''
def softmax(x):
    return x / x.sum(axis=-1, keepdims=True)
'''),
    Mutant("04.1", "does not normalize", "The weights are right, but they do not add up to 1.", '''
def softmax(x):
    return np.exp(x - x.max(axis=-1, keepdims=True))
'''),
    Mutant("04.2", "keeps the diagonal only", "You used y·(1 − y), each class by itself. A higher score also takes probability from all the other "
           "classes: the terms off the diagonal are missing.", '''
def softmax_vjp(gy, y):
    return gy * y * (1 - y)
'''),
    Mutant("04.2", "forgets what the others lose", "gy·y alone says that every class can grow at once. Their sum stays 1.", '''
def softmax_vjp(gy, y):
    return gy * y
'''),
    Mutant("04.2", "subtracts the plain sum", "The sum has to be weighted by y: Σ gy·y, a mean of gy under the probabilities.", '''
def softmax_vjp(gy, y):
    return y * (gy - gy.sum(axis=-1, keepdims=True))
'''),
    Mutant("04.2", "sums over everything", "Each row has a sum of its own; you took one for all.", '''
def softmax_vjp(gy, y):
    return y * (gy - (gy * y).sum())
'''),
    Mutant("04.2", "forgets the factor y", "The factor y in front is missing: ∂y[j]/∂x[i] = y[i]·(δ − y[j]).", '''
def softmax_vjp(gy, y):
    return gy - (gy * y).sum(axis=-1, keepdims=True)
'''),
    Mutant("04.2", "takes the gradient of a sum", "Your answer is 0 whatever gy is: that is right for the sum of all probabilities, which never moves.", '''
def softmax_vjp(gy, y):
    return np.zeros_like(y)
'''),
    Mutant("04.3", "takes the log of a zero", "You take the logarithm of a probability that was rounded to 0. Use ln Σ eˣ − x[t], in which nothing is "
           "rounded away.", '''
def cross_entropy(logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(targets)), targets]).mean()
'''),
    Mutant("04.3", "lets the exponential overflow", "e¹⁰⁰⁰ is infinite. Take away each row's maximum in the exponent, and add it again outside of the "
           "logarithm.", '''
def cross_entropy(logits, targets):
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]).mean()
'''),
    Mutant("04.3", "adds up the rows", "The loss is the mean over the rows, so that its size does not depend on how many there are.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1)
    total = m + np.log(np.exp(logits - m[:, None]).sum(axis=1))
    return (total - logits[np.arange(len(targets)), targets]).sum()
'''),
    Mutant("04.3", "picks whole columns", "logits[:, targets] takes every row's score for every target: n × n numbers. Each row has one target: pair "
           "them with np.arange.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1)
    total = m + np.log(np.exp(logits - m[:, None]).sum(axis=1))
    return (total - logits[:, targets].T).mean()
'''),
    Mutant("04.3", "measures in bits", "That is the logarithm to base 2. The loss is in nats, with the natural logarithm, as in PyTorch.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1)
    total = m + np.log(np.exp(logits - m[:, None]).sum(axis=1))
    return (total - logits[np.arange(len(targets)), targets]).mean() / np.log(2)
'''),
    Mutant("04.3", "turns the sign", "The logarithm of a probability is negative; the loss is minus that.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1)
    total = m + np.log(np.exp(logits - m[:, None]).sum(axis=1))
    return (logits[np.arange(len(targets)), targets] - total).mean()
'''),
    Mutant("04.3", "forgets to add the maximum again", "ln Σ eˣ = m + ln Σ eˣ⁻ᵐ; your m is missing outside of the logarithm.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1)
    return (np.log(np.exp(logits - m[:, None]).sum(axis=1)) - logits[np.arange(len(targets)), targets]).mean()
'''),
    Mutant("04.3", "multiplies with a one-hot table", "A class that is impossible has the logarithm −∞, and 0·∞ is not a number. "
           "Take each row's target out by its index instead of multiplying all others with 0.", '''
def cross_entropy(logits, targets):
    m = logits.max(axis=1, keepdims=True)
    log_p = logits - m - np.log(np.exp(logits - m).sum(axis=1, keepdims=True))
    return -(np.eye(logits.shape[1])[targets] * log_p).sum() / len(targets)
'''),
    Mutant("04.4", "does not divide by the rows", "That is the gradient of the sum. The loss is a mean: divide by the number of rows.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    return gy * p
'''),
    Mutant("04.4", "forgets the target", "Your gradient pushes every class down, the right one too. Subtract 1 at the target.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return gy * p / len(targets)
'''),
    Mutant("04.4", "turns the sign", "Your signs are turned: a higher score of the right class makes the loss smaller, so its slope is negative.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    return -gy * p / len(targets)
'''),
    Mutant("04.4", "ignores gy", "gy was ignored: it is 1 only where the mean is itself the loss.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    return p / len(targets)
'''),
    Mutant("04.4", "subtracts in whole columns", "p[:, targets] -= 1 takes 1 from every row in these columns. Each row has one target: pair them with "
           "np.arange.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[:, targets] -= 1
    return gy * p / len(targets)
'''),
    Mutant("04.4", "differentiates the target's logarithm alone", "−1/p is the slope in the probability. In the scores it becomes p − 1 at the target, "
           "and p elsewhere.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    g = np.zeros_like(p)
    rows = np.arange(len(targets))
    g[rows, targets] = -1 / p[rows, targets]
    return gy * g / len(targets)
'''),
    Mutant("04.4", "lets the exponential overflow", "e¹⁰⁰⁰ is infinite, and ∞/∞ is not a number. Take away each row's maximum first.", '''
def cross_entropy_vjp(gy, logits, targets):
    e = np.exp(logits)
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    return gy * p / len(targets)
'''),
    Mutant("04.5", "gives gW the other way round", "Your gW is transposed: W is (out, in), and so is its gradient.", '''
def linear_vjp(gy, x, W):
    return gy @ W, x.T @ gy, gy.sum(axis=0)
'''),
    Mutant("04.5", "turns W once too often", "y = x·Wᵀ, so gx = gy·W: the transpose is undone.", '''
def linear_vjp(gy, x, W):
    return gy @ W.T, gy.T @ x, gy.sum(axis=0)
'''),
    Mutant("04.5", "takes the mean for the bias", "b is added to every row, so its gradient is the sum over the rows. If the loss is a mean, gy is "
           "divided already.", '''
def linear_vjp(gy, x, W):
    return gy @ W, gy.T @ x, gy.mean(axis=0)
'''),
    Mutant("04.5", "divides gW by the rows", "The mean belongs to the loss, and gy has it already; dividing once more makes gW too small.", '''
def linear_vjp(gy, x, W):
    return gy @ W, gy.T @ x / len(x), gy.sum(axis=0)
'''),
    Mutant("04.5", "sums the bias along the rows", "b has one entry for each output; you summed over the outputs and not over the rows.", '''
def linear_vjp(gy, x, W):
    return gy @ W, gy.T @ x, gy.sum(axis=1)
'''),
    Mutant("04.5", "ignores gy", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no other.", '''
def linear_vjp(gy, x, W):
    gy = np.ones_like(gy)
    return gy @ W, gy.T @ x, gy.sum(axis=0)
'''),
    Mutant("04.5", "swaps gx and gW", "The order is that of the arguments: x first, then W, then b.", '''
def linear_vjp(gy, x, W):
    return gy.T @ x, gy @ W, gy.sum(axis=0)
'''),
    Mutant("04.6", "climbs", "You add the gradient. It points uphill; a step goes against it.",
           step(end="loss, W + lr * g.T @ x, b + lr * g.sum(axis=0)")),
    Mutant("04.6", "steps with the gradient of the sum", "Your step is as many times too large as there are rows: the loss is a mean.",
           step(divided="g")),
    Mutant("04.6", "forgets the bias", "b is learned too.", step(end="loss, W - lr * g.T @ x, b")),
    Mutant("04.6", "changes W in place", "You wrote into the caller's W and b; return new arrays.", step(end="loss, W, b", before="""
    W -= lr * g.T @ x
    b -= lr * g.sum(axis=0)""")),
    Mutant("04.6", "returns the loss after the step", "That is the loss with the new W and b; asked for is the one before the step, which the forward "
           "pass has anyway.", step(end="loss, W, b", before="""
    W, b = W - lr * g.T @ x, b - lr * g.sum(axis=0)
    logits = x @ W.T + b
    m = logits.max(axis=1)
    loss = (m + np.log(np.exp(logits - m[:, None]).sum(axis=1)) - logits[at_targets]).mean()""")),
    Mutant("04.6", "ignores the learning rate", "You step by the whole gradient; lr says how much of it.",
           step(end="loss, W - g.T @ x, b - g.sum(axis=0)")),
    Mutant("04.6", "forgets the bias in the forward pass", "The scores are x·Wᵀ + b; your b is missing.", step(logits="x @ W.T")),
    Mutant("04.6", "takes the log of a zero", "Where the network is sure and wrong, the target's probability is rounded to 0 and its logarithm is "
           "infinite. Compute the loss as ln Σ eˣ − x[t].", step(loss="-np.log((e / total)[at_targets]).mean()")),
]
