"""Lesson 13: prompts and prefixes, fine-tuning by what the model reads. `pytest lessons/13_prompts_prefixes` checks it.

Shapes: x (T, D) embedded tokens · E (P, D) a soft prompt · q, k, v (T, d) one head · pk, pv (P, d) a prefix of that head
"""
import numpy as np


def softmax(scores):
    """Along the last axis; −inf gets no weight."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def prepend_prompt(x, E, positions):
    """The model's input with a soft prompt: (P + T, D), prompt first, then positions[0], positions[1], … added to all of it.

    positions: (context, D). Raises ValueError when P + T is more than the context.
    """
    # <solution hint="The soft tokens take positions 0 … P−1, so the real ones move up. Check the length before adding.">
    both = np.concatenate([E, x])                       # (P, D), (T, D) -> (P + T, D)
    if len(both) > len(positions):
        raise ValueError(f"{len(E)} + {len(x)} tokens do not fit into a context of {len(positions)}")
    return both + positions[:len(both)]
    # </solution>


def prefix_mask(T, P):
    """Which of the P prefix keys and T own keys each query sees: True or False, (T, P + T)."""
    # <solution hint="The prefix is visible to every query; among the tokens, query i sees 0 … i. The matrix is not square.">
    return np.concatenate([np.ones((T, P), dtype=bool), np.tril(np.ones((T, T), dtype=bool))], axis=1)
    # </solution>


def prefix_attention(q, k, v, pk, pv):
    """Causal attention of T queries over a prefix and T keys, one softmax over both: (T, d). Scores are divided by √d."""
    # <solution hint="Put pk before k and pv before v; a score that may not be seen becomes −inf before the softmax.">
    T, d = q.shape
    keys, values = np.concatenate([pk, k]), np.concatenate([pv, v])
    hidden = np.arange(len(keys)) > len(pk) + np.arange(T)[:, None]         # key j belongs to token j − P
    return softmax(np.where(hidden, -np.inf, q @ keys.T / np.sqrt(d))) @ values
    # </solution>


def gate(q, k, pk):
    """λ: the share of each query's attention that goes to the prefix, (T,). All P + T keys are visible here.

    With it, attention over both is (1 − λ)·(attention over k alone) + λ·(attention over pk alone).
    """
    # <solution hint="One softmax over all keys; add up what the first P of them get.">
    weights = softmax(q @ np.concatenate([pk, k]).T / np.sqrt(q.shape[1]))
    return weights[:, :len(pk)].sum(axis=1)
    # </solution>


def gated_attention(q, k, v, pk, pv, g):
    """LLaMA-Adapter's way: attention over k, plus tanh(g) times attention over the prefix, each with a softmax of its own.

    All T keys are visible here; g is a number, 0 at the start.
    """
    # <solution hint="Two softmaxes. What must g = 0 give?">
    d = q.shape[1]
    return softmax(q @ k.T / np.sqrt(d)) @ v + np.tanh(g) * softmax(q @ pk.T / np.sqrt(d)) @ pv
    # </solution>


def trained(P, D, layers):
    """(numbers a soft prompt of length P trains, numbers a prefix of length P trains) for a model of this width and depth."""
    # <solution hint="A prompt is P vectors once; a prefix is P keys and P values of full width in every layer.">
    return P * D, 2 * layers * P * D
    # </solution>
