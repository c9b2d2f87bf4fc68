"""Lesson 07: a transformer that reads words aloud, part by part. `pytest lessons/07_transformer` checks it.

Attention is lesson 06; here is everything around it. Shapes: T tokens, D numbers per token, V symbols in the vocabulary.
"""
import numpy as np


def layer_norm(x, w, b, eps):
    """Each token's numbers with mean 0 and variance 1, times w, plus b. x (T, D), w (D,), b (D,) -> (T, D).

    The variance is the mean square of what is left after the mean is taken off; eps is added to it before the root.
    """
    # TODO 07.1: delete the next line and write layer_norm (about 3 lines).
    raise NotImplementedError("07.1 layer_norm")


def layer_norm_vjp(gy, x, w, eps):
    """From the gradient gy (T, D) of layer_norm's output: the gradients (gx, gw, gb) of x, w and b."""
    # TODO 07.2: delete the next line and write layer_norm_vjp (about 5 lines).
    raise NotImplementedError("07.2 layer_norm_vjp")


def gelu(x):
    """GELU in its tanh form: ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    # TODO 07.3: delete the next line and write gelu (about 1 line).
    raise NotImplementedError("07.3 gelu")


def block(x, norm1, attention, norm2, mlp):
    """One pre-norm layer of a transformer: norm, attention, add; norm, MLP, add. The four parts are functions."""
    # TODO 07.4: delete the next line and write block (about 2 lines).
    raise NotImplementedError("07.4 block")


def embedding_vjp(gy, ids, V):
    """The gradient of the table of V vectors from which row ids[t] was taken for each token t. gy (T, D) -> (V, D)."""
    # TODO 07.5: delete the next line and write embedding_vjp (about 3 lines).
    raise NotImplementedError("07.5 embedding_vjp")


def next_token_loss(logits, ids, first):
    """The mean of −ln p(next token) over the answer. logits (T, V) came from ids[:-1]; ids has T + 1 tokens.

    The answer is ids[first], ids[first + 1], …, to the end; what comes before is the question and bears no loss.
    """
    # TODO 07.6: delete the next line and write next_token_loss (about 4 lines).
    raise NotImplementedError("07.6 next_token_loss")


def greedy(logits_of, prompt, stop, longest):
    """Write on, always the likeliest token: the list of new ids, without `stop`, at most `longest` of them.

    logits_of(ids), with a list of ids, gives the logits (len(ids), V) of what follows each of them.
    """
    # TODO 07.7: delete the next line and write greedy (about 7 lines).
    raise NotImplementedError("07.7 greedy")
