"""Wrong answers to the exercises of lesson 07, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("07.1", "normalizes over tokens", "You normalize each column over all tokens. Layer norm looks at one token at a time, so that a text's length and "
           "its other tokens do not matter.", '''
def layer_norm(x, w, b, eps):
    centered = x - x.mean(axis=0, keepdims=True)
    return centered / np.sqrt((centered ** 2).mean(axis=0, keepdims=True) + eps) * w + b
'''),
    Mutant("07.1", "does not center", "You did not take the mean off. That is RMS norm, another layer.", '''
def layer_norm(x, w, b, eps):
    return x / np.sqrt((x ** 2).mean(axis=-1, keepdims=True) + eps) * w + b
'''),
    Mutant("07.1", "forgets the root", "You divided by the variance; the numbers then have variance 1/variance. Divide by its root.", '''
def layer_norm(x, w, b, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / ((centered ** 2).mean(axis=-1, keepdims=True) + eps) * w + b
'''),
    Mutant("07.1", "adds eps after the root", "eps belongs to the variance, inside the root. (In Adam it is the other way round.)", '''
def layer_norm(x, w, b, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / (np.sqrt((centered ** 2).mean(axis=-1, keepdims=True)) + eps) * w + b
'''),
    Mutant("07.1", "divides by D − 1", "Your variance divides by D − 1. Layer norm takes the plain mean of the squares.", '''
def layer_norm(x, w, b, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered ** 2).sum(axis=-1, keepdims=True) / max(1, x.shape[-1] - 1) + eps) * w + b
'''),
    Mutant("07.1", "forgets w and b", "The trained w and b are missing: after normalizing, each of the D numbers gets a scale and a shift of its own.", '''
def layer_norm(x, w, b, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
'''),
    Mutant("07.1", "subtracts two large numbers", "mean(x²) − mean(x)² is the variance on paper. Where the mean is large, both "
           "are nearly equal and their difference is rounding. Take the mean off first, then square.", '''
def layer_norm(x, w, b, eps):
    mean = x.mean(axis=1, keepdims=True)
    variance = (x * x).mean(axis=1, keepdims=True) - mean * mean
    return (x - mean) / np.sqrt(variance + eps) * w + b
'''),
    Mutant("07.2", "treats mean and variance as constants", "You divide by the root alone. But mean and variance depend on x too, and their part has to go off.", '''
def layer_norm_vjp(gy, x, w, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    return r * gy * w, (gy * centered * r).sum(axis=0), gy.sum(axis=0)
'''),
    Mutant("07.2", "forgets the variance's part", "You took off the mean of the gradient, but not the part along x̂, which comes from the variance.", '''
def layer_norm_vjp(gy, x, w, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    g = gy * w
    return r * (g - g.mean(axis=-1, keepdims=True)), (gy * centered * r).sum(axis=0), gy.sum(axis=0)
'''),
    Mutant("07.2", "forgets w", "The output was multiplied by w, so the gradient that reaches x̂ is gy·w.", '''
def layer_norm_vjp(gy, x, w, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    x_hat = centered * r
    gx = r * (gy - gy.mean(axis=-1, keepdims=True) - x_hat * (gy * x_hat).mean(axis=-1, keepdims=True))
    return gx, (gy * x_hat).sum(axis=0), gy.sum(axis=0)
'''),
    Mutant("07.2", "takes x for x̂", "w multiplies the normalized x̂, not x, so its gradient is Σ gy·x̂ over the tokens.", '''
def layer_norm_vjp(gy, x, w, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    x_hat, g = centered * r, gy * w
    gx = r * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
    return gx, (gy * x).sum(axis=0), gy.sum(axis=0)
'''),
    Mutant("07.2", "takes the mean over tokens", "w and b serve every token, so their gradients are sums over the tokens, not means.", '''
def layer_norm_vjp(gy, x, w, eps):
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    x_hat, g = centered * r, gy * w
    gx = r * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
    return gx, (gy * x_hat).mean(axis=0), gy.mean(axis=0)
'''),
    Mutant("07.2", "ignores the cotangent", "Your gradients do not depend on gy. They are right for a loss that sums the output, and for no other.", '''
def layer_norm_vjp(gy, x, w, eps):
    gy = np.ones_like(gy)
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)
    x_hat, g = centered * r, gy * w
    gx = r * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
    return gx, (gy * x_hat).sum(axis=0), gy.sum(axis=0)
'''),
    Mutant("07.3", "is a ReLU", "That is ReLU. GELU is smooth, and lets small negative numbers through a little.", '''
def gelu(x):
    return np.maximum(x, 0)
'''),
    Mutant("07.3", "forgets the half", "The ½ is missing: for large x the bracket is 2, and GELU should give x.", '''
def gelu(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
'''),
    Mutant("07.3", "forgets the x in front", "½(1 + tanh …) is a switch between 0 and 1; it has to be multiplied by x.", '''
def gelu(x):
    return 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
'''),
    Mutant("07.3", "forgets the root", "The factor in the tanh is √(2/π), not 2/π.", '''
def gelu(x):
    return 0.5 * x * (1 + np.tanh(2 / np.pi * (x + 0.044715 * x ** 3)))
'''),
    Mutant("07.3", "squares", "The small term is 0.044715·x³. With x² the function would not be the same on both sides of zero.", '''
def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 2)))
'''),
    Mutant("07.3", "is the quick form", "You wrote x·σ(1.702x), a rougher approximation. Weights trained with one form should not run with the other.", '''
def gelu(x):
    return x / (1 + np.exp(-1.702 * x))
'''),
    Mutant("07.3", "overflows", "You wrote tanh with exponentials. From about x = 22 on they are infinite, and ∞/∞ is not a "
           "number. np.tanh does without them.", '''
def gelu(x):
    e = np.exp(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))
    return 0.5 * x * (1 + (e - 1) / (e + 1))
'''),
    Mutant("07.4", "normalizes after adding", "You put the norm behind the sum. That is the post-norm block of the first transformer; here the stream itself is never normalized.", '''
def block(x, norm1, attention, norm2, mlp):
    x = norm1(x + attention(x))
    return norm2(x + mlp(x))
'''),
    Mutant("07.4", "forgets the stream", "Nothing is added to x: without the way past, a gradient has to go through every part of every layer.", '''
def block(x, norm1, attention, norm2, mlp):
    return mlp(norm2(attention(norm1(x))))
'''),
    Mutant("07.4", "runs both on the same x", "The MLP should see what attention has added, not the block's input.", '''
def block(x, norm1, attention, norm2, mlp):
    return x + attention(norm1(x)) + mlp(norm2(x))
'''),
    Mutant("07.4", "adds to the norm", "You added to the normalized x. The stream goes past the norm unchanged.", '''
def block(x, norm1, attention, norm2, mlp):
    h = norm1(x)
    x = h + attention(h)
    h = norm2(x)
    return h + mlp(h)
'''),
    Mutant("07.4", "uses one norm twice", "Each part has a norm of its own, with weights of its own.", '''
def block(x, norm1, attention, norm2, mlp):
    x = x + attention(norm1(x))
    return x + mlp(norm1(x))
'''),
    Mutant("07.4", "swaps the two halves", "Attention comes first, then the MLP.", '''
def block(x, norm1, attention, norm2, mlp):
    x = x + mlp(norm2(x))
    return x + attention(norm1(x))
'''),
    Mutant("07.5", "loses repeated letters", "g[ids] += gy (or = gy) writes each row once, however often it occurs: of a letter that stands twice, one gradient is lost. "
           "np.add.at adds all.", '''
def embedding_vjp(gy, ids, V):
    g = np.zeros((V, gy.shape[1]))
    g[ids] += gy
    return g
'''),
    Mutant("07.5", "counts letters", "Your gradient says how often each symbol occurs and does not depend on gy. It is right for a loss that sums all "
           "vectors, and for no other.", '''
def embedding_vjp(gy, ids, V):
    g = np.zeros((V, gy.shape[1]))
    np.add.at(g, ids, 1.0)
    return g
'''),
    Mutant("07.5", "takes the mean", "A letter that stands twice gets the sum of both gradients, not their mean.", '''
def embedding_vjp(gy, ids, V):
    return np.array([gy[ids == row].mean(axis=0) if (ids == row).any() else np.zeros(gy.shape[1]) for row in range(V)])
'''),
    Mutant("07.5", "gathers", "You looked rows of gy up by their ids. It is the other way: row t of gy goes to row ids[t] of the table.", '''
def embedding_vjp(gy, ids, V):
    return np.array([gy[ids[row % len(ids)] % len(gy)] for row in range(V)])
'''),
    Mutant("07.5", "returns a row per token", "The gradient has the shape of the table, (V, D), with zeros for symbols that do not occur.", '''
def embedding_vjp(gy, ids, V):
    return gy.copy()
'''),
    Mutant("07.6", "does not shift", "You compare logits[t] with token t. They predict token t + 1: a model would only have to copy.", '''
def next_token_loss(logits, ids, first):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(logits)), ids[:-1]][first - 1:].mean()
'''),
    Mutant("07.6", "counts the question", "The question bears no loss: nobody can know which letter of a word comes next, and it is not asked.", '''
def next_token_loss(logits, ids, first):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(logits)), ids[1:]].mean()
'''),
    Mutant("07.6", "begins one too late", "ids[first] is predicted by row first − 1. You left the first symbol of the answer out.", '''
def next_token_loss(logits, ids, first):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(logits)), ids[1:]][first:].mean()
'''),
    Mutant("07.6", "divides by all tokens", "The mean is over the answer. You divided its sum by the number of all tokens, so a long question makes the loss small.", '''
def next_token_loss(logits, ids, first):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(logits)), ids[1:]][first - 1:].sum() / len(logits)
'''),
    Mutant("07.6", "overflows", "np.exp of a large logit is infinite. Subtract each row's maximum first; the probabilities do not change.", '''
def next_token_loss(logits, ids, first):
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(logits)), ids[1:]][first - 1:].mean()
'''),
    Mutant("07.6", "forgets the logarithm", "You averaged probabilities. The loss is the mean of −ln p.", '''
def next_token_loss(logits, ids, first):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -p[np.arange(len(logits)), ids[1:]][first - 1:].mean()
'''),
    Mutant("07.6", "adds a little before the logarithm", "The logarithm of p + 1e-9 ends at −20.7, however wrong the model is, "
           "and has no slope there. Use ln Σ eˣ − x[t], which needs no such number.", '''
def next_token_loss(logits, ids, first):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(ids) - 1), ids[1:]] + 1e-9)[first - 1:].mean()
'''),
    Mutant("07.7", "reads the first row", "You take the first row of the logits, which says what follows the prompt's first token. The last row is wanted.", '''
def greedy(logits_of, prompt, stop, longest):
    ids = list(prompt)
    for _ in range(longest):
        best = int(np.argmax(logits_of(ids)[0]))
        if best == stop:
            break
        ids.append(best)
    return ids[len(prompt):]
'''),
    Mutant("07.7", "returns the prompt too", "Only the new tokens are wanted; yours begin with the prompt.", '''
def greedy(logits_of, prompt, stop, longest):
    ids = list(prompt)
    for _ in range(longest):
        best = int(np.argmax(logits_of(ids)[-1]))
        if best == stop:
            break
        ids.append(best)
    return ids
'''),
    Mutant("07.7", "keeps the stop token", "The stop token ends the answer, it is not part of it.", '''
def greedy(logits_of, prompt, stop, longest):
    ids = list(prompt)
    for _ in range(longest):
        ids.append(int(np.argmax(logits_of(ids)[-1])))
        if ids[-1] == stop:
            break
    return ids[len(prompt):]
'''),
    Mutant("07.7", "never stops", "You go on after the stop token. What a model writes behind its own end means nothing.", '''
def greedy(logits_of, prompt, stop, longest):
    ids = list(prompt)
    for _ in range(longest):
        ids.append(int(np.argmax(logits_of(ids)[-1])))
    return ids[len(prompt):]
'''),
    Mutant("07.7", "does not read on", "You never append what was written, so the model gives the same answer again and again.", '''
def greedy(logits_of, prompt, stop, longest):
    new = []
    for _ in range(longest):
        best = int(np.argmax(logits_of(prompt)[-1]))
        if best == stop:
            break
        new.append(best)
    return new
'''),
    Mutant("07.7", "writes into the prompt", "You appended to the caller's own list. Make a copy first.", '''
def greedy(logits_of, prompt, stop, longest):
    start = len(prompt)
    for _ in range(longest):
        best = int(np.argmax(logits_of(prompt)[-1]))
        if best == stop:
            break
        prompt.append(best)
    return prompt[start:]
'''),
    Mutant("07.7", "asks once too often", "After the last token that is wanted you ask the model once more and throw the answer "
           "away. Behind a full context that call would fail.", '''
def greedy(logits_of, prompt, stop, longest):
    ids = list(prompt)
    best = int(np.argmax(logits_of(ids)[-1]))
    while best != stop and len(ids) < len(prompt) + longest:
        ids.append(best)
        best = int(np.argmax(logits_of(ids)[-1]))
    return ids[len(prompt):]
'''),
]
