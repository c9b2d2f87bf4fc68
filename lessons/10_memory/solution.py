"""Lesson 10: what fills the memory. `pytest lessons/10_memory` checks it.

Bytes per number: 4 in float32, 2 in fp16 and bf16. Adam keeps two moments per trained number, always in float32.
"""
import math


def train_bytes(n, mixed):
    """(bytes of weights, of gradients, of optimizer state) for n numbers trained with Adam.

    mixed=False: all in float32. mixed=True: weights and gradients in 16 bits, and a float32 master copy of the weights,
    which counts as optimizer state.
    """
    # <solution hint="Adam's m and v take 4 bytes each. Both recipes come to 16 bytes per number, split differently.">
    if mixed:
        return 2 * n, 2 * n, 12 * n
    return 4 * n, 4 * n, 8 * n
    # </solution>


def lora_bytes(base, shapes, rank):
    """(weights, gradients, optimizer state) in bytes, all float32, of a frozen model with LoRA beside layers of these shapes.

    base: how many numbers the model has · shapes: a list of (out, in), one per adapted layer, each with its A and B.
    """
    # <solution hint="Which numbers have a gradient? Only those have moments. The frozen ones still have to be there.">
    added = sum(rank * (out + inn) for out, inn in shapes)
    return 4 * (base + added), 4 * added, 8 * added
    # </solution>


def buffer_bytes(arrays):
    """The bytes of memory that these NumPy arrays hold together; a buffer that several of them share counts once, whole.

    A view (a slice, a transpose) owns no memory: its .base is the array it looks into, which may be a view itself.
    """
    # <solution hint="Follow .base to the owner, then add up owner.nbytes over different owners; id() tells them apart.">
    owners = {}
    for a in arrays:
        while a.base is not None:
            a = a.base
        owners[id(a)] = a.nbytes
    return sum(owners.values())
    # </solution>


def block_keeps(batch, tokens, d_model, d_ff, trained):
    """How many numbers one transformer block keeps for its backward pass; the README lists what each operation keeps.

    trained: its weights are trained; False: all are frozen, and gradients only pass through.
    """
    # <solution hint="With rows = batch · tokens: two norms, attention, GELU; then the inputs of the linear layers, if trained.">
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff
    if trained:
        kept = kept + 3 * rows * d_model + rows * d_ff
    return kept
    # </solution>


def best_segment(blocks, inside, between):
    """(length, bytes): how many blocks to put into one checkpointed segment so that the peak is lowest, and that peak.

    With segments of k blocks the peak is between·⌈blocks/k⌉ (the segments' inputs, kept) + inside·k (one segment, run again).
    inside: what one block keeps when it is recorded; between: one block's input. Of two equal peaks take the shorter length.
    """
    # <solution hint="Try all lengths from 1 to blocks; min compares tuples by their first entry, then by the second.">
    peak, k = min((between * math.ceil(blocks / k) + inside * k, k) for k in range(1, blocks + 1))
    return k, peak
    # </solution>


def checkpointed_vjp(gy, x, layers):
    """Backward through a stack of layers of which only the input x was kept: (gx, [gw of each layer, in order]).

    layers: a list of pairs (forward, vjp) with forward(x) -> y and vjp(gy, x) -> (gx, gw), x being that layer's own input.
    Run no layer's forward more than once.
    """
    # <solution hint="First forward, collecting each layer's input; then backward, from the last layer to the first.">
    inputs = []
    for forward, _ in layers:
        inputs.append(x)
        x = forward(x)
    gws = []
    while inputs:
        vjp = layers[len(inputs) - 1][1]
        gy, gw = vjp(gy, inputs.pop())
        gws.insert(0, gw)
    return gy, gws
    # </solution>
