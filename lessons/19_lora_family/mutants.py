"""Wrong answers to the exercises of lesson 19, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("19.1", "has a default", "A kind that is misspelled gets a scale all the same, and a run is wasted. Raise ValueError.", '''
def scaling(kind, alpha, rank):
    return {"alpha": alpha, "alpha/sqrt(r)": alpha / np.sqrt(rank)}.get(kind, alpha / rank)
'''),
    Mutant("19.1", "takes the root of all", "The root is of the rank alone: α/√r, not √(α/r).", '''
def scaling(kind, alpha, rank):
    if kind not in ("alpha", "alpha/r", "alpha/sqrt(r)"):
        raise ValueError(kind)
    return {"alpha": alpha, "alpha/r": alpha / rank, "alpha/sqrt(r)": np.sqrt(alpha / rank)}[kind]
'''),
    Mutant("19.1", "ignores the rank", "Your scale does not depend on the rank.", '''
def scaling(kind, alpha, rank):
    if kind not in ("alpha", "alpha/r", "alpha/sqrt(r)"):
        raise ValueError(kind)
    return alpha
'''),
    Mutant("19.1", "multiplies by the root", "rsLoRA divides by √r: a larger rank sums more terms, whose sum grows like √r.", '''
def scaling(kind, alpha, rank):
    if kind not in ("alpha", "alpha/r", "alpha/sqrt(r)"):
        raise ValueError(kind)
    return {"alpha": alpha, "alpha/r": alpha / rank, "alpha/sqrt(r)": alpha * np.sqrt(rank)}[kind]
'''),
    Mutant("19.2", "takes the lengths of columns", "You took the norm over the wrong axis. A row of W makes one output feature; its length is a norm over the in-features.", '''
def dora_weight(W, A, B, s, m):
    V = W + s * B @ A
    lengths = np.resize(np.linalg.norm(V, axis=0), len(m))
    return (m / lengths)[:, None] * V
'''),
    Mutant("19.2", "divides by W's lengths", "You divided by the lengths of W's rows. After training W + s·BA has other lengths; with these, m would not be the length.", '''
def dora_weight(W, A, B, s, m):
    V = W + s * B @ A
    return (m / np.linalg.norm(W, axis=1))[:, None] * V
'''),
    Mutant("19.2", "scales W alone", "Length and direction are those of the sum: BA changes the direction, so it has to be inside.", '''
def dora_weight(W, A, B, s, m):
    return (m / np.linalg.norm(W, axis=1))[:, None] * W + s * B @ A
'''),
    Mutant("19.2", "forgets s", "BA is multiplied by s before it is added.", '''
def dora_weight(W, A, B, s, m):
    V = W + B @ A
    return (m / np.linalg.norm(V, axis=1))[:, None] * V
'''),
    Mutant("19.2", "takes one length for all", "You divided by the norm of the whole matrix. Every row has a length of its own.", '''
def dora_weight(W, A, B, s, m):
    V = W + s * B @ A
    return (m / np.linalg.norm(V))[:, None] * V
'''),
    Mutant("19.2", "forgets m", "You have the directions; each has to be stretched to its trained length m.", '''
def dora_weight(W, A, B, s, m):
    V = W + s * B @ A
    return V / np.linalg.norm(V, axis=1)[:, None]
'''),
    Mutant("19.3", "takes the last rows", "You took the last rows and columns of the shared matrices. All layers share the first ones.", '''
def vera_weight(W, A, B, d, b):
    out_features, in_features = W.shape
    return W + (b[:, None] * B[-out_features:]) @ (d[:, None] * A[:, -in_features:])
'''),
    Mutant("19.3", "forgets d", "d is missing: it scales the r numbers in the middle.", '''
def vera_weight(W, A, B, d, b):
    out_features, in_features = W.shape
    return W + (b[:, None] * B[:out_features]) @ A[:, :in_features]
'''),
    Mutant("19.3", "forgets b", "b is missing: it scales the output features, and its zeros make the start equal to the base.", '''
def vera_weight(W, A, B, d, b):
    out_features, in_features = W.shape
    return W + B[:out_features] @ (d[:, None] * A[:, :in_features])
'''),
    Mutant("19.3", "returns the change", "That is the change of W alone; the layer needs W plus the change.", '''
def vera_weight(W, A, B, d, b):
    out_features, in_features = W.shape
    return (b[:, None] * B[:out_features]) @ (d[:, None] * A[:, :in_features])
'''),
    Mutant("19.3", "adds the vectors", "Λ_b is a diagonal matrix: it multiplies the rows of B. You added b to them.", '''
def vera_weight(W, A, B, d, b):
    out_features, in_features = W.shape
    return W + (b[:, None] + B[:out_features]) @ (d[:, None] * A[:, :in_features])
'''),
    Mutant("19.4", "forgets s in the factors", "s multiplies BA again in the forward pass: the factors hold S/s, or the trained part is s times too large.", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    root = np.sqrt(S[:r])
    A, B = root[:, None] * Vt[:r], U[:, :r] * root
    return A, B, W - s * B @ A
'''),
    Mutant("19.4", "forgets s in the rest", "What is taken out of W has to be what the branch puts back: s·BA, not BA. With s ≠ 1 the model no longer starts at the base. "
           "A well-known library makes this very mistake in a related method.", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    root = np.sqrt(S[:r] / s)
    A, B = root[:, None] * Vt[:r], U[:, :r] * root
    return A, B, W - B @ A
'''),
    Mutant("19.4", "keeps W whole", "The frozen part is W without s·BA. You return W itself, so the principal part is there twice.", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    root = np.sqrt(S[:r] / s)
    return root[:, None] * Vt[:r], U[:, :r] * root, W
'''),
    Mutant("19.4", "trains the smallest", "You took the smallest singular values. PiSSA trains the principal ones and freezes the rest. (The other way round exists, too: MiLoRA.)", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    root = np.sqrt(S[-r:] / s)
    A, B = root[:, None] * Vt[-r:], U[:, -r:] * root
    return A, B, W - s * B @ A
'''),
    Mutant("19.4", "gives all to B", "The product is right, but B got all of S. √(S/s) to each keeps the two balanced, so that they train alike.", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    A, B = Vt[:r], U[:, :r] * (S[:r] / s)
    return A, B, W - s * B @ A
'''),
    Mutant("19.4", "gives S to both", "Each factor got S/s, so the product has its square. √(S/s) to each.", '''
def pissa(W, r, s):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    A, B = (S[:r] / s)[:, None] * Vt[:r], U[:, :r] * (S[:r] / s)
    return A, B, W - s * B @ A
'''),
    Mutant("19.5", "forgets the bias", "l ⊙ (Wx + b) = (l ⊙ W)x + l ⊙ b: the bias is inside the bracket.", '''
def ia3_merge(W, b, l, of_input):
    return (W * l, b) if of_input else (l[:, None] * W, b)
'''),
    Mutant("19.5", "always scales the bias", "With l on the input, the bias is added afterwards: it stays as it is.", '''
def ia3_merge(W, b, l, of_input):
    return (W * l, b * l.mean()) if of_input else (l[:, None] * W, l * b)
'''),
    Mutant("19.5", "exchanges the two cases", "l has as many numbers as what it scales: out-features scale rows of W, in-features its columns.", '''
def ia3_merge(W, b, l, of_input):
    return (np.resize(l, len(b))[:, None] * W, np.resize(l, len(b)) * b) if of_input else (W * np.resize(l, W.shape[1]), b)
'''),
    Mutant("19.5", "writes into W", "You changed W itself. Where l is zero nobody can divide it back: keep W as it is.", '''
def ia3_merge(W, b, l, of_input):
    if of_input:
        W *= l
        return W, b
    W *= l[:, None]
    return W, l * b
'''),
    Mutant("19.5", "adds l", "(IA)³ multiplies. That is why it starts at l = 1 and not at 0.", '''
def ia3_merge(W, b, l, of_input):
    return (W + l, b) if of_input else (W + l[:, None], b + l)
'''),
    Mutant("19.5", "goes by the length of l", "You look at how long l is. In a square layer both lengths are the same; of_input "
           "says which case it is.", '''
def ia3_merge(W, b, l, of_input):
    return (W * l, b) if len(l) == W.shape[1] else (l[:, None] * W, l * b)
'''),
    Mutant("19.6", "trains A in LoRA-FA", "LoRA-FA freezes A: only B's r·out numbers are trained.", '''
def counts(shapes, r):
    lora, rows = sum(r * (o + i) for o, i in shapes), sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": lora, "dora": lora + rows, "vera": r * len(shapes) + rows}
'''),
    Mutant("19.6", "counts lengths of columns", "DoRA has a length for each row of W: out numbers, not in.", '''
def counts(shapes, r):
    lora, rows = sum(r * (o + i) for o, i in shapes), sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": r * rows, "dora": lora + sum(i for o, i in shapes), "vera": r * len(shapes) + rows}
'''),
    Mutant("19.6", "shares d between layers", "A and B are shared in VeRA; d and b are each layer's own, so r counts once per layer.", '''
def counts(shapes, r):
    lora, rows = sum(r * (o + i) for o, i in shapes), sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": r * rows, "dora": lora + rows, "vera": r + rows}
'''),
    Mutant("19.6", "forgets DoRA's A and B", "DoRA trains A and B as LoRA does, and the lengths as well.", '''
def counts(shapes, r):
    lora, rows = sum(r * (o + i) for o, i in shapes), sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": r * rows, "dora": rows, "vera": r * len(shapes) + rows}
'''),
    Mutant("19.6", "adds a length per rank", "The number of lengths does not depend on the rank: one per row of W.", '''
def counts(shapes, r):
    lora, rows = sum(r * (o + i) for o, i in shapes), sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": r * rows, "dora": lora + r * rows, "vera": r * len(shapes) + rows}
'''),
]

ALLOWED = {"pissa: False -> True": "only the first r columns and rows are used, and those are the same in both forms"}
