"""Lesson 07: a transformer that reads words aloud, part by part. `pytest lessons/07_transformer` checks it.

Attention is lesson 06; here is everything around it. Shapes: T tokens, D numbers per token, V symbols in the vocabulary.
"""
import numpy as np


def layer_norm(x, w, b, eps):
    """Each token's numbers with mean 0 and variance 1, times w, plus b. x (T, D), w (D,), b (D,) -> (T, D).

    The variance is the mean square of what is left after the mean is taken off; eps is added to it before the root.
    """
    # <solution hint="Every token for itself: mean and variance run over the last axis, and keep it.">
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered ** 2).mean(axis=-1, keepdims=True)
    return centered / np.sqrt(variance + eps) * w + b
    # </solution>


def layer_norm_vjp(gy, x, w, eps):
    """From the gradient gy (T, D) of layer_norm's output: the gradients (gx, gw, gb) of x, w and b."""
    # <solution hint="With x̂ the normalized x and g = gy·w: gx = (g − mean g − x̂·mean(g·x̂))/√(variance + eps), means per token.">
    centered = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + eps)         # (T, 1)
    x_hat, g = centered * r, gy * w
    gx = r * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
    return gx, (gy * x_hat).sum(axis=0), gy.sum(axis=0)
    # </solution>


def gelu(x):
    """GELU in its tanh form: ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    # <solution hint="Write the formula down as it stands.">
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
    # </solution>


def block(x, norm1, attention, norm2, mlp):
    """One pre-norm layer of a transformer: norm, attention, add; norm, MLP, add. The four parts are functions."""
    # <solution hint="The stream x itself is never normalized: a norm stands before each part, inside the branch.">
    x = x + attention(norm1(x))
    return x + mlp(norm2(x))
    # </solution>


def embedding_vjp(gy, ids, V):
    """The gradient of the table of V vectors from which row ids[t] was taken for each token t. gy (T, D) -> (V, D)."""
    # <solution hint="A letter that occurs twice gets both gradients. What does g[ids] += gy do with it? See np.add.at.">
    g = np.zeros((V, gy.shape[1]))
    np.add.at(g, ids, gy)
    return g
    # </solution>


def next_token_loss(logits, ids, first):
    """The mean of −ln p(next token) over the answer. logits (T, V) came from ids[:-1]; ids has T + 1 tokens.

    The answer is ids[first], ids[first + 1], …, to the end; what comes before is the question and bears no loss.
    """
    # <solution hint="logits[t] predict ids[t + 1]. Which row predicts ids[first]? Subtract each row's maximum before np.exp.">
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    losses = -log_p[np.arange(len(ids) - 1), ids[1:]]                           # (T,)
    return losses[first - 1:].mean()
    # </solution>


def greedy(logits_of, prompt, stop, longest):
    """Write on, always the likeliest token: the list of new ids, without `stop`, at most `longest` of them.

    logits_of(ids), with a list of ids, gives the logits (len(ids), V) of what follows each of them.
    """
    # <solution hint="Only the last row of the logits says what comes next. Append it and ask again.">
    ids = list(prompt)
    for _ in range(longest):
        best = int(np.argmax(logits_of(ids)[-1]))
        if best == stop:
            break
        ids.append(best)
    return ids[len(prompt):]
    # </solution>
