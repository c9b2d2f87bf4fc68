"""Wrong answers to the exercises of lesson 11, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("11.1", "takes the bottom", "You took the first k blocks. The top of the model, where the answer is made, are the last ones.", '''
def top_k(names, n_layers, k):
    top = tuple(f"blocks.{i}." for i in range(k))
    return [name for name in names if name.startswith((*top, "norm.", "head."))]
'''),
    Mutant("11.1", "forgets norm and head", "What follows the blocks is trained too: the final norm and the head.", '''
def top_k(names, n_layers, k):
    top = tuple(f"blocks.{i}." for i in range(n_layers - k, n_layers))
    return [name for name in names if name.startswith(top)]
'''),
    Mutant("11.1", "forgets the dot", "Without the dot at the end, 'blocks.2' is the beginning of 'blocks.2.…' and of 'blocks.20.…', and 'norm' that of "
           "'norm_in'.", '''
def top_k(names, n_layers, k):
    top = tuple(f"blocks.{i}" for i in range(n_layers - k, n_layers))
    return [name for name in names if name.startswith((*top, "norm", "head"))]
'''),
    Mutant("11.1", "one block too few", "Count the blocks: the last k of n are numbers n−k … n−1.", '''
def top_k(names, n_layers, k):
    top = tuple(f"blocks.{i}." for i in range(n_layers - k + 1, n_layers))
    return [name for name in names if name.startswith((*top, "norm.", "head."))]
'''),
    Mutant("11.1", "takes every norm", "You search for 'norm' anywhere in the name, so the norms inside the frozen blocks are trained as well.", '''
def top_k(names, n_layers, k):
    top = tuple(f"blocks.{i}." for i in range(n_layers - k, n_layers))
    return [name for name in names if name.startswith(top) or "norm" in name or "head" in name]
'''),
    Mutant("11.1", "appends the head", "The names are right, but not in the order of `names`: go through `names` once and keep "
           "or skip each.", '''
def top_k(names, n_layers, k):
    blocks = tuple(f"blocks.{i}." for i in range(n_layers - k, n_layers))
    return [n for n in names if n.startswith(blocks)] + [n for n in names if n.startswith(("norm.", "head."))]
'''),
    Mutant("11.2", "searches anywhere", "You search for 'bias' anywhere in the name; 'position_bias.weight' is a weight.", '''
def bitfit(names):
    chosen = [name for name in names if "bias" in name]
    if not any(name.endswith(".bias") for name in names):
        raise ValueError("no biases")
    return chosen
'''),
    Mutant("11.2", "says nothing", "A model without biases gives an empty list: a run that trains nothing and looks as if it did. Raise ValueError.", '''
def bitfit(names):
    return [name for name in names if name.endswith(".bias")]
'''),
    Mutant("11.2", "forgets the norms", "A norm's bias is a bias too; you left those out.", '''
def bitfit(names):
    chosen = [name for name in names if name.endswith(".bias") and "norm" not in name]
    if not chosen:
        raise ValueError("no biases")
    return chosen
'''),
    Mutant("11.2", "takes the weights", "Those are the weights. BitFit trains the other kind.", '''
def bitfit(names):
    if not any(name.endswith(".bias") for name in names):
        raise ValueError("no biases")
    return [name for name in names if not name.endswith(".bias")]
'''),
    Mutant("11.3", "blocks the frozen path", "A frozen weight gets no gradient, but the layers below still need theirs: gx depends on what x needs, not on W.", '''
def linear_vjp(gy, x, W, needs):
    need_x, need_W, need_b = needs
    gx = gy @ W if need_x and need_W else None
    return gx, gy.T @ x if need_W else None, gy.sum(axis=0) if need_b else None
'''),
    Mutant("11.3", "computes everything", "You compute all three whatever is needed. Then freezing saves nothing: x and W must be kept, and two products are done.", '''
def linear_vjp(gy, x, W, needs):
    return gy @ W, gy.T @ x, gy.sum(axis=0)
'''),
    Mutant("11.3", "gives zeros", "Where nothing is needed the answer is None. A gradient of zeros takes memory, and Adam with weight decay would still move "
           "the weight.", '''
import numpy as np
def linear_vjp(gy, x, W, needs):
    need_x, need_W, need_b = needs
    gx = gy @ W if need_x else np.zeros(1)
    gW = gy.T @ x if need_W else np.zeros(1)
    return gx, gW, gy.sum(axis=0) if need_b else np.zeros(1)
'''),
    Mutant("11.3", "ties the bias to the weight", "Whether the bias is trained is its own question: BitFit trains it with the weight frozen.", '''
def linear_vjp(gy, x, W, needs):
    need_x, need_W, need_b = needs
    return gy @ W if need_x else None, gy.T @ x if need_W else None, gy.sum(axis=0) if need_W else None
'''),
    Mutant("11.3", "takes the mean for the bias", "b is added to every row, so its gradient is the sum over rows, not their mean.", '''
def linear_vjp(gy, x, W, needs):
    need_x, need_W, need_b = needs
    return gy @ W if need_x else None, gy.T @ x if need_W else None, gy.mean(axis=0) if need_b else None
'''),
    Mutant("11.3", "ignores the cotangent", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no other.", '''
def linear_vjp(gy, x, W, needs):
    gy = gy * 0 + 1
    need_x, need_W, need_b = needs
    return gy @ W if need_x else None, gy.T @ x if need_W else None, gy.sum(axis=0) if need_b else None
'''),
    Mutant("11.4", "always sends down", "Below the lowest trained layer nobody waits for a gradient: the walk ends there, and those products are never done.", '''
def backward_work(trained):
    weights = sum(weight for weight, bias in trained)
    return weights + len(trained) - 1, weights
'''),
    Mutant("11.4", "stops at frozen layers", "A frozen layer still passes the gradient on when something below it is trained: that costs the product gy·W.", '''
def backward_work(trained):
    products, below = 0, False
    for weight, bias in trained:
        products += weight + (below and weight)
        below = below or weight or bias
    return products, sum(weight for weight, bias in trained)
'''),
    Mutant("11.4", "forgets the biases", "A trained bias needs no product of its own, but the gradient has to come down to it: the layers above must send it.", '''
def backward_work(trained):
    products, below = 0, False
    for weight, bias in trained:
        products += weight + below
        below = below or weight
    return products, sum(weight for weight, bias in trained)
'''),
    Mutant("11.4", "keeps x for the bias", "gb = Σ gy needs no x. Only a trained weight makes a layer keep its input.", '''
def backward_work(trained):
    products, kept, below = 0, 0, False
    for weight, bias in trained:
        products += weight + below
        kept += weight or bias
        below = below or weight or bias
    return products, kept
'''),
    Mutant("11.4", "sends into the input", "The lowest trained layer has nothing trained below it: it needs gW, and no gx.", '''
def backward_work(trained):
    products, kept, below = 0, 0, False
    for weight, bias in trained:
        below = below or weight or bias
        products += weight + below
        kept += weight
    return products, kept
'''),
    Mutant("11.4", "walks the wrong way", "You walked from the output down. Whether a layer sends a gradient depends on what is trained below it, nearer to the input.", '''
def backward_work(trained):
    products, kept, below = 0, 0, False
    for weight, bias in trained[::-1]:
        products += weight + below
        kept += weight
        below = below or weight or bias
    return products, kept
'''),
    Mutant("11.5", "trains the base", "You copied nothing. The first step of training would change the base model, and with it every other adapter on it.", '''
def adapt(base, chosen):
    for name in chosen:
        for other, array in base.items():
            if array is base[name] and other not in chosen:
                raise ValueError(f"{name} is tied to {other}")
    return dict(base)
'''),
    Mutant("11.5", "copies everything", "Frozen arrays need no copy: sharing them is why a hundred adapted models fit beside one base.", '''
def adapt(base, chosen):
    for name in chosen:
        for other, array in base.items():
            if array is base[name] and other not in chosen:
                raise ValueError(f"{name} is tied to {other}")
    copies = {id(array): array.copy() for array in base.values()}
    return {name: copies[id(array)] for name, array in base.items()}
'''),
    Mutant("11.5", "unties in silence", "Head and embedding were one array. Copying only the chosen one makes them two: a different, larger model, and nobody was told.", '''
def adapt(base, chosen):
    copies = {id(base[name]): base[name].copy() for name in chosen}
    return {name: copies[id(array)] if name in chosen else array for name, array in base.items()}
'''),
    Mutant("11.5", "trains the other one too", "This is the trap: the copy takes the place of both names, so training the head trains the input embedding as well.", '''
def adapt(base, chosen):
    copies = {id(base[name]): base[name].copy() for name in chosen}
    return {name: copies.get(id(array), array) for name, array in base.items()}
'''),
    Mutant("11.5", "copies once per name", "Chosen together, tied weights must stay one array; you made one copy for each name.", '''
def adapt(base, chosen):
    for name in chosen:
        for other, array in base.items():
            if array is base[name] and other not in chosen:
                raise ValueError(f"{name} is tied to {other}")
    return {name: array.copy() if name in chosen else array for name, array in base.items()}
'''),
    Mutant("11.5", "names the wrong one", "Your error names the weight that was chosen. What the reader needs to know is the other one, which would be trained "
           "unasked.", '''
def adapt(base, chosen):
    for name in chosen:
        for other, array in base.items():
            if array is base[name] and other not in chosen:
                raise ValueError(f"{name} is tied to another")
    copies = {id(base[name]): base[name].copy() for name in chosen}
    return {name: copies.get(id(array), array) for name, array in base.items()}
'''),
    Mutant("11.5", "compares values", "Equal values are no tie: all norms of a fresh model are ones. Tied means the very same "
           "array; ask with `is`.", '''
import numpy as np
def adapt(base, chosen):
    for name in chosen:
        for other, array in base.items():
            if other not in chosen and np.array_equal(array, base[name]):
                raise ValueError(f"{name} is tied to {other}")
    copies = {id(base[name]): base[name].copy() for name in chosen}
    return {name: copies.get(id(array), array) for name, array in base.items()}
'''),
    Mutant("11.6", "forgets the biases", "Every projection has a bias. (The head has none.)", '''
def count_top_k(d, d_ff, vocab, k):
    return k * (4 * d * d + 2 * d * d_ff + 4 * d) + 2 * d + vocab * d
'''),
    Mutant("11.6", "forgets the norms of a block", "Each block has two norms, with a weight and a bias of d numbers each.", '''
def count_top_k(d, d_ff, vocab, k):
    block = 4 * (d * d + d) + (d_ff * d + d_ff) + (d * d_ff + d)
    return k * block + 2 * d + vocab * d
'''),
    Mutant("11.6", "forgets the final norm", "The final norm is trained as well: 2d numbers.", '''
def count_top_k(d, d_ff, vocab, k):
    block = 4 * (d * d + d) + (d_ff * d + d_ff) + (d * d_ff + d) + 4 * d
    return k * block + vocab * d
'''),
    Mutant("11.6", "forgets the head", "The head is trained as well: vocab·d numbers, where it is not tied.", '''
def count_top_k(d, d_ff, vocab, k):
    block = 4 * (d * d + d) + (d_ff * d + d_ff) + (d * d_ff + d) + 4 * d
    return k * block + 2 * d
'''),
    Mutant("11.6", "takes d_ff for 4d", "12d² + 13d holds for d_ff = 4d only; here d_ff is given.", '''
def count_top_k(d, d_ff, vocab, k):
    return k * (12 * d * d + 13 * d) + 2 * d + vocab * d
'''),
]
