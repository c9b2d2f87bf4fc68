"""Wrong answers to the exercises of lesson 10, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("10.1", "forgets the master copy", "8 bytes of optimizer state are m and v alone. With mixed precision the optimizer keeps three float32 "
           "numbers: m, v and the master copy of the weight.", '''
def train_bytes(n, mixed):
    return (2 * n, 2 * n, 8 * n) if mixed else (4 * n, 4 * n, 8 * n)
'''),
    Mutant("10.1", "counts one moment", "Adam keeps two moments per number, m and v. One is momentum's.", '''
def train_bytes(n, mixed):
    return (2 * n, 2 * n, 8 * n) if mixed else (4 * n, 4 * n, 4 * n)
'''),
    Mutant("10.1", "expects mixed precision to halve everything", "Only weights and gradients are halved. The optimizer's part grows, by the master "
           "copy, and the sum stays at 16 bytes.", '''
def train_bytes(n, mixed):
    return (2 * n, 2 * n, 4 * n) if mixed else (4 * n, 4 * n, 8 * n)
'''),
    Mutant("10.1", "counts the master among the weights", "The master copy belongs to the optimizer: the forward pass never reads it. (Your sum is "
           "right.)", '''
def train_bytes(n, mixed):
    return (6 * n, 2 * n, 8 * n) if mixed else (4 * n, 4 * n, 8 * n)
'''),
    Mutant("10.1", "counts numbers", "You returned how many numbers there are; each takes 2 or 4 bytes.", '''
def train_bytes(n, mixed):
    return (n, n, 3 * n) if mixed else (n, n, 2 * n)
'''),
    Mutant("10.2", "forgets the frozen weights", "Frozen weights have no gradient and no moments, but they have to be in memory for the forward pass.", '''
def lora_bytes(base, shapes, rank):
    added = sum(rank * (out + inn) for out, inn in shapes)
    return 4 * added, 4 * added, 8 * added
'''),
    Mutant("10.2", "gives the frozen weights gradients", "No gradient is computed for a frozen weight, so none is stored. That is where LoRA saves.", '''
def lora_bytes(base, shapes, rank):
    added = sum(rank * (out + inn) for out, inn in shapes)
    return 4 * (base + added), 4 * (base + added), 8 * added
'''),
    Mutant("10.2", "gives the frozen weights moments", "The optimizer owns the trained numbers only: a frozen weight has no m and no v.", '''
def lora_bytes(base, shapes, rank):
    added = sum(rank * (out + inn) for out, inn in shapes)
    return 4 * (base + added), 4 * added, 8 * (base + added)
'''),
    Mutant("10.2", "forgets the added weights", "A and B are weights too: they come on top of the base's.", '''
def lora_bytes(base, shapes, rank):
    added = sum(rank * (out + inn) for out, inn in shapes)
    return 4 * base, 4 * added, 8 * added
'''),
    Mutant("10.2", "counts full matrices", "You counted out · in numbers per layer. A is (rank, in), B is (out, rank).", '''
def lora_bytes(base, shapes, rank):
    added = sum(out * inn for out, inn in shapes)
    return 4 * (base + added), 4 * added, 8 * added
'''),
    Mutant("10.2", "counts one of the two matrices", "Each adapted layer has an A and a B.", '''
def lora_bytes(base, shapes, rank):
    added = sum(rank * inn for out, inn in shapes)
    return 4 * (base + added), 4 * added, 8 * added
'''),
    Mutant("10.3", "adds up all arrays", "You added the nbytes of all arrays. A buffer that two of them share is there once.", '''
def buffer_bytes(arrays):
    return sum(a.nbytes for a in arrays)
'''),
    Mutant("10.3", "counts the part that is seen", "A slice keeps its whole buffer alive: two rows of six hold the memory of six. Count the owner's "
           "bytes.", '''
def buffer_bytes(arrays):
    owners = {}
    for a in arrays:
        owner = a
        while owner.base is not None:
            owner = owner.base
        owners[id(owner)] = max(a.nbytes, owners.get(id(owner), 0))
    return sum(owners.values())
'''),
    Mutant("10.3", "tells arrays apart, not buffers", "Two views of one buffer are two Python objects with different id(). Go to the owner first.", '''
def buffer_bytes(arrays):
    return sum({id(a): a.nbytes for a in arrays}.values())
'''),
    Mutant("10.3", "leaves views out", "You counted only arrays that own their memory. A view may be all that is left of its owner, and it keeps "
           "the buffer alive.", '''
def buffer_bytes(arrays):
    return sum({id(a): a.nbytes for a in arrays if a.base is None}.values())
'''),
    Mutant("10.3", "goes one step", "You look at .base once. It may be a view too; go on until .base is None.", '''
def buffer_bytes(arrays):
    owners = {}
    for a in arrays:
        owner = a if a.base is None else a.base
        owners[id(owner)] = owner.nbytes
    return sum(owners.values())
'''),
    Mutant("10.4", "keeps the inputs of frozen layers", "A linear layer keeps its input for the gradient of its weight. Frozen, it has none to "
           "compute, and keeps nothing.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    return 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff + 3 * rows * d_model + rows * d_ff
'''),
    Mutant("10.4", "lets a frozen block keep nothing", "Gradients still pass through a frozen block to what lies below: its norms, its attention and "
           "its GELU need what they saved.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    if not trained:
        return 0
    return 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff + 3 * rows * d_model + rows * d_ff
'''),
    Mutant("10.4", "counts the input of q, k and v three times", "The three layers read one and the same array: it is kept once.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff
    return kept + 5 * rows * d_model + rows * d_ff if trained else kept
'''),
    Mutant("10.4", "keeps the attention weights", "You counted tokens² weights. Attention here makes them again in the backward pass, and keeps "
           "q, k and v only.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff + batch * tokens * tokens
    return kept + 3 * rows * d_model + rows * d_ff if trained else kept
'''),
    Mutant("10.4", "forgets the wide layer's input", "The layer after GELU reads d_ff numbers per token: its input is the largest of all.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff
    return kept + 3 * rows * d_model if trained else kept
'''),
    Mutant("10.4", "forgets the norms' 1/σ", "A layer norm keeps its normalized input and, for each row, one number more: 1/σ.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * rows * d_model + 3 * rows * d_model + rows * d_ff
    return kept + 3 * rows * d_model + rows * d_ff if trained else kept
'''),
    Mutant("10.4", "returns bytes", "You returned bytes. Numbers were asked for; in float32 each takes four.", '''
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff
    return 4 * (kept + 3 * rows * d_model + rows * d_ff if trained else kept)
'''),
    Mutant("10.5", "keeps every block's inside", "Inside a segment only one segment at a time is recorded again: inside · k, not inside · blocks.", '''
def best_segment(blocks, inside, between):
    peak, k = min((between * math.ceil(blocks / k) + inside * blocks, k) for k in range(1, blocks + 1))
    return k, peak
'''),
    Mutant("10.5", "leaves a remainder out", "blocks // k drops a last, shorter segment. It has an input too: round up.", '''
def best_segment(blocks, inside, between):
    peak, k = min((between * (blocks // k) + inside * k, k) for k in range(1, blocks + 1))
    return k, peak
'''),
    Mutant("10.5", "takes the square root of the blocks", "√blocks is best only if a block's inside is as large as its input. In general it is "
           "√(blocks · between / inside), in whole blocks.", '''
def best_segment(blocks, inside, between):
    k = max(1, round(math.sqrt(blocks)))
    return k, between * math.ceil(blocks / k) + inside * k
'''),
    Mutant("10.5", "exchanges inside and between", "What is kept once per segment is its input, `between`; what is recorded for each block of one "
           "segment is `inside`.", '''
def best_segment(blocks, inside, between):
    peak, k = min((inside * math.ceil(blocks / k) + between * k, k) for k in range(1, blocks + 1))
    return k, peak
'''),
    Mutant("10.5", "takes the worst", "You took the highest peak.", '''
def best_segment(blocks, inside, between):
    peak, k = max((between * math.ceil(blocks / k) + inside * k, k) for k in range(1, blocks + 1))
    return k, peak
'''),
    Mutant("10.5", "prefers long segments", "Where two lengths have the same peak, the shorter one was asked for.", '''
def best_segment(blocks, inside, between):
    peak, k = min((between * math.ceil(blocks / k) + inside * k, -k) for k in range(1, blocks + 1))
    return -k, peak
'''),
    Mutant("10.6", "gives every layer the same input", "Each vjp needs its own layer's input. You gave all of them the input of the stack.", '''
def checkpointed_vjp(gy, x, layers):
    gws = []
    for forward, vjp in reversed(layers):
        gy, gw = vjp(gy, x)
        gws.insert(0, gw)
    return gy, gws
'''),
    Mutant("10.6", "gives layers their outputs", "You gave each vjp its layer's output; it wants the input.", '''
def checkpointed_vjp(gy, x, layers):
    outputs = []
    for forward, _ in layers:
        x = forward(x)
        outputs.append(x)
    gws = []
    for forward, vjp in reversed(layers):
        gy, gw = vjp(gy, outputs.pop())
        gws.insert(0, gw)
    return gy, gws
'''),
    Mutant("10.6", "goes backward from the first layer", "The gradient arrives at the last layer: go from the last to the first.", '''
def checkpointed_vjp(gy, x, layers):
    gws = []
    for forward, vjp in layers:
        gy, gw = vjp(gy, x)
        x = forward(x)
        gws.append(gw)
    return gy, gws
'''),
    Mutant("10.6", "returns the weights' gradients backward", "Your gradients of the weights come in the order of the backward pass, the last layer first.", '''
def checkpointed_vjp(gy, x, layers):
    inputs = []
    for forward, _ in layers:
        inputs.append(x)
        x = forward(x)
    gws = []
    for _, vjp in reversed(layers):
        gy, gw = vjp(gy, inputs.pop())
        gws.append(gw)
    return gy, gws
'''),
    Mutant("10.6", "runs forward from the start for every layer", "The gradients are right, but you ran the first layer once for every layer above it. "
           "Within a segment keep the inputs: one forward pass is enough.", '''
def checkpointed_vjp(gy, x, layers):
    gws = []
    for i in reversed(range(len(layers))):
        a = x
        for forward, _ in layers[:i]:
            a = forward(a)
        gy, gw = layers[i][1](gy, a)
        gws.insert(0, gw)
    return gy, gws
'''),
    Mutant("10.6", "ignores the cotangent", "Your gradients do not depend on gy: they are right for a loss that sums y, and for no other.", '''
def checkpointed_vjp(gy, x, layers):
    gy = gy * 0 + 1
    inputs = []
    for forward, _ in layers:
        inputs.append(x)
        x = forward(x)
    gws = []
    for _, vjp in reversed(layers):
        gy, gw = vjp(gy, inputs.pop())
        gws.insert(0, gw)
    return gy, gws
'''),
]

ALLOWED = {"best_segment: 1 -> 2 (2)": "a segment longer than the whole stack never has a lower peak than the whole stack"}
