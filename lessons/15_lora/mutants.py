"""Wrong answers to the exercises of lesson 15, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("15.1", "makes both random", "Both A and B are random, so BA is not zero and the first step starts somewhere else than "
           "the base model. One of them has to be zero.", '''
def lora_init(out_features, in_features, rank, rng):
    bound = 1 / np.sqrt(in_features)
    return rng.uniform(-bound, bound, (rank, in_features)), rng.uniform(-bound, bound, (out_features, rank))
'''),
    Mutant("15.1", "swaps the two", "You made A zero and B random. That starts at the base as well, but it is not what was asked: "
           "LoRA draws A and lets B be zero.", '''
def lora_init(out_features, in_features, rank, rng):
    bound = 1 / np.sqrt(in_features)
    return np.zeros((rank, in_features)), rng.uniform(-bound, bound, (out_features, rank))
'''),
    Mutant("15.1", "makes both zero", "Both A and B are zero. Each one's gradient is multiplied by the other, so neither ever moves.", '''
def lora_init(out_features, in_features, rank, rng):
    return np.zeros((rank, in_features)), np.zeros((out_features, rank))
'''),
    Mutant("15.1", "takes the bound from the rank", "Your bound is 1/√rank. The fan-in of A is the number of values it sums over, "
           "which is in_features; the course slides make this very mistake by storing A the other way round.", '''
def lora_init(out_features, in_features, rank, rng):
    bound = 1 / np.sqrt(rank)
    return rng.uniform(-bound, bound, (rank, in_features)), np.zeros((out_features, rank))
'''),
    Mutant("15.1", "stores A the other way round", "Your A has shape (in, rank). Here A is (rank, in), as in PyTorch's Linear: "
           "(out, in).", '''
def lora_init(out_features, in_features, rank, rng):
    bound = 1 / np.sqrt(in_features)
    return rng.uniform(-bound, bound, (in_features, rank)), np.zeros((rank, out_features))
'''),
    Mutant("15.2", "forgets the scale", "The branch is not scaled: s = alpha/rank is missing.", '''
def lora_forward(x, W, b, A, B, alpha):
    return x @ W.T + b + (x @ A.T) @ B.T
'''),
    Mutant("15.2", "scales by alpha alone", "You scale by alpha, not by alpha/rank. The division keeps the size of the branch "
           "comparable when the rank is changed.", '''
def lora_forward(x, W, b, A, B, alpha):
    return x @ W.T + b + alpha * (x @ A.T) @ B.T
'''),
    Mutant("15.2", "forgets the bias", "The frozen layer has a bias too.", '''
def lora_forward(x, W, b, A, B, alpha):
    return x @ W.T + alpha / A.shape[0] * (x @ A.T) @ B.T
'''),
    Mutant("15.2", "replaces the base", "Only the branch is left: LoRA adds to what the frozen layer computes, it does not take "
           "its place.", '''
def lora_forward(x, W, b, A, B, alpha):
    return b + alpha / A.shape[0] * (x @ A.T) @ B.T
'''),
    Mutant("15.2", "scales everything", "The scale is for the branch; you scaled the frozen layer's output too.", '''
def lora_forward(x, W, b, A, B, alpha):
    return alpha / A.shape[0] * (x @ W.T + b + (x @ A.T) @ B.T)
'''),
    Mutant("15.2", "divides by the wrong size", "The rank is the number of rows of A (or of columns of B); you divided by the "
           "other one.", '''
def lora_forward(x, W, b, A, B, alpha):
    return x @ W.T + b + alpha / A.shape[1] * (x @ A.T) @ B.T
'''),
    Mutant("15.3", "blocks the frozen path", "Frozen does not mean that no gradient passes: W is not changed, but the layers below "
           "need the gradient that flows through it into x.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    s = alpha / A.shape[0]
    gz = s * gy @ B
    return gz @ A, gz.T @ x, s * gy.T @ (x @ A.T)
'''),
    Mutant("15.3", "forgets the branch in gx", "x goes into two branches, so its gradient is a sum of two; the one through A and B "
           "is missing.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    s = alpha / A.shape[0]
    gz = s * gy @ B
    return gy @ W, gz.T @ x, s * gy.T @ (x @ A.T)
'''),
    Mutant("15.3", "forgets the scale", "The forward pass multiplies the branch by s = alpha/rank; each gradient through it has "
           "that factor too.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    gz = gy @ B
    return gy @ W + gz @ A, gz.T @ x, gy.T @ (x @ A.T)
'''),
    Mutant("15.3", "scales twice", "The factor s is in gz already; in gA you multiplied by it once more.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    s = alpha / A.shape[0]
    gz = s * gy @ B
    return gy @ W + gz @ A, s * gz.T @ x, s * gy.T @ (x @ A.T)
'''),
    Mutant("15.3", "ignores the cotangent", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no "
           "other.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    gy = np.ones_like(gy)
    s = alpha / A.shape[0]
    gz = s * gy @ B
    return gy @ W + gz @ A, gz.T @ x, s * gy.T @ (x @ A.T)
'''),
    Mutant("15.3", "swaps gA and gB", "gA and gB are exchanged: their order is that of the arguments.", '''
def lora_vjp(gy, x, W, A, B, alpha):
    s = alpha / A.shape[0]
    gz = s * gy @ B
    return gy @ W + gz @ A, s * gy.T @ (x @ A.T), gz.T @ x
'''),
    Mutant("15.4", "writes into W", "You changed W itself. Then the base model is lost, and so is every other adapter on it.", '''
def merge(W, A, B, alpha):
    W += alpha / A.shape[0] * B @ A
    return W
'''),
    Mutant("15.4", "forgets the scale", "The merged weight lacks s = alpha/rank, so it computes something else than the two "
           "branches together.", '''
def merge(W, A, B, alpha):
    return W + B @ A
'''),
    Mutant("15.4", "multiplies the wrong way round", "AB is a small matrix, rank × rank (if it exists at all); the change of W is "
           "BA.", '''
def merge(W, A, B, alpha):
    return W + alpha / A.shape[0] * A @ B
'''),
    Mutant("15.4", "subtracts", "That is how one takes an adapter out; merging puts it in.", '''
def merge(W, A, B, alpha):
    return W - alpha / A.shape[0] * B @ A
'''),
    Mutant("15.4", "returns the change", "You returned the change of W alone; the layer needs W plus the change.", '''
def merge(W, A, B, alpha):
    return alpha / A.shape[0] * B @ A
'''),
    Mutant("15.5", "adds on top", "You write into W, so each swap puts another adapter on top of those before.", '''
def swap(W, adapters, name, alpha):
    if name is None:
        return W
    A, B = adapters[name]
    W += alpha / A.shape[0] * B @ A
    return W
'''),
    Mutant("15.5", "copies for None", "For None the very array W is wanted: no copy, because nothing has to be computed.", '''
def swap(W, adapters, name, alpha):
    if name is None:
        return W.copy()
    A, B = adapters[name]
    return W + alpha / A.shape[0] * B @ A
'''),
    Mutant("15.5", "always takes the first", "Whatever the name, you merge the first adapter.", '''
def swap(W, adapters, name, alpha):
    if name is None:
        return W
    A, B = list(adapters.values())[0]
    return W + alpha / A.shape[0] * B @ A
'''),
    Mutant("15.5", "fixes the rank", "Adapters on one base may differ in rank; you divide by the rank of the first one.", '''
def swap(W, adapters, name, alpha):
    if name is None:
        return W
    A, B = adapters[name]
    return W + alpha / len(list(adapters.values())[0][0]) * B @ A
'''),
    Mutant("15.5", "remembers by name", "You keep the merged weight under the adapter's name. With another base, alpha or a "
           "newly trained adapter of that name it is out of date.", '''
MERGED = {}
def swap(W, adapters, name, alpha):
    if name is None:
        return W
    if name not in MERGED:
        A, B = adapters[name]
        MERGED[name] = W + alpha / len(A) * B @ A
    return MERGED[name]
'''),
    Mutant("15.6", "counts the full matrix", "You counted the entries of W, which are frozen.", '''
def trained(shapes, rank):
    return sum(out_features * in_features for out_features, in_features in shapes)
'''),
    Mutant("15.6", "counts A only", "B is trained too.", '''
def trained(shapes, rank):
    return sum(rank * in_features for out_features, in_features in shapes)
'''),
    Mutant("15.6", "assumes square layers", "You took 2·rank·in for every layer; that is right for square ones only.", '''
def trained(shapes, rank):
    return sum(2 * rank * in_features for out_features, in_features in shapes)
'''),
    Mutant("15.6", "shares one pair", "You counted the first layer only; every layer has its own A and B.", '''
def trained(shapes, rank):
    out_features, in_features = shapes[0]
    return rank * (out_features + in_features)
'''),
]
