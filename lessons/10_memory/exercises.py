"""Lesson 10: what fills the memory. `pytest lessons/10_memory` checks it.

Bytes per number: 4 in float32, 2 in fp16 and bf16. Adam keeps two moments per trained number, always in float32.
"""
import math


def train_bytes(n, mixed):
    """(bytes of weights, of gradients, of optimizer state) for n numbers trained with Adam.

    mixed=False: all in float32. mixed=True: weights and gradients in 16 bits, and a float32 master copy of the weights,
    which counts as optimizer state.
    """
    # TODO 10.1: delete the next line and write train_bytes (about 3 lines).
    raise NotImplementedError("10.1 train_bytes")


def lora_bytes(base, shapes, rank):
    """(weights, gradients, optimizer state) in bytes, all float32, of a frozen model with LoRA beside layers of these shapes.

    base: how many numbers the model has · shapes: a list of (out, in), one per adapted layer, each with its A and B.
    """
    # TODO 10.2: delete the next line and write lora_bytes (about 2 lines).
    raise NotImplementedError("10.2 lora_bytes")


def buffer_bytes(arrays):
    """The bytes of memory that these NumPy arrays hold together; a buffer that several of them share counts once, whole.

    A view (a slice, a transpose) owns no memory: its .base is the array it looks into, which may be a view itself.
    """
    # TODO 10.3: delete the next line and write buffer_bytes (about 6 lines).
    raise NotImplementedError("10.3 buffer_bytes")


def block_keeps(batch, tokens, d_model, d_ff, trained):
    """How many numbers one transformer block keeps for its backward pass; the README lists what each operation keeps.

    trained: its weights are trained; False: all are frozen, and gradients only pass through.
    """
    # TODO 10.4: delete the next line and write block_keeps (about 5 lines).
    raise NotImplementedError("10.4 block_keeps")


def best_segment(blocks, inside, between):
    """(length, bytes): how many blocks to put into one checkpointed segment so that the peak is lowest, and that peak.

    With segments of k blocks the peak is between·⌈blocks/k⌉ (the segments' inputs, kept) + inside·k (one segment, run again).
    inside: what one block keeps when it is recorded; between: one block's input. Of two equal peaks take the shorter length.
    """
    # TODO 10.5: delete the next line and write best_segment (about 2 lines).
    raise NotImplementedError("10.5 best_segment")


def checkpointed_vjp(gy, x, layers):
    """Backward through a stack of layers of which only the input x was kept: (gx, [gw of each layer, in order]).

    layers: a list of pairs (forward, vjp) with forward(x) -> y and vjp(gy, x) -> (gx, gw), x being that layer's own input.
    Run no layer's forward more than once.
    """
    # TODO 10.6: delete the next line and write checkpointed_vjp (about 10 lines).
    raise NotImplementedError("10.6 checkpointed_vjp")
