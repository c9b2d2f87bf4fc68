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
    # TODO 13.1: delete the next line and write prepend_prompt (about 4 lines).
    raise NotImplementedError("13.1 prepend_prompt")


def prefix_mask(T, P):
    """Which of the P prefix keys and T own keys each query sees: True or False, (T, P + T)."""
    # TODO 13.2: delete the next line and write prefix_mask (about 1 line).
    raise NotImplementedError("13.2 prefix_mask")


def prefix_attention(q, k, v, pk, pv):
    """Causal attention of T queries over a prefix and T keys, one softmax over both: (T, d). Scores are divided by √d."""
    # TODO 13.3: delete the next line and write prefix_attention (about 4 lines).
    raise NotImplementedError("13.3 prefix_attention")


def gate(q, k, pk):
    """λ: the share of each query's attention that goes to the prefix, (T,). All P + T keys are visible here.

    With it, attention over both is (1 − λ)·(attention over k alone) + λ·(attention over pk alone).
    """
    # TODO 13.4: delete the next line and write gate (about 2 lines).
    raise NotImplementedError("13.4 gate")


def gated_attention(q, k, v, pk, pv, g):
    """LLaMA-Adapter's way: attention over k, plus tanh(g) times attention over the prefix, each with a softmax of its own.

    All T keys are visible here; g is a number, 0 at the start.
    """
    # TODO 13.5: delete the next line and write gated_attention (about 2 lines).
    raise NotImplementedError("13.5 gated_attention")


def trained(P, D, layers):
    """(numbers a soft prompt of length P trains, numbers a prefix of length P trains) for a model of this width and depth."""
    # TODO 13.6: delete the next line and write trained (about 1 line).
    raise NotImplementedError("13.6 trained")
