"""Wrong answers to the exercises of lesson 06, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("06.1", "ignores the offset", "You ignore the offset. Behind a cache of P tokens query 0 is token P, and must see all P of them and itself; "
           "with your mask it sees the first token of the text alone.", '''
def visible(Tq, Tk, offset):
    return np.arange(Tk) <= np.arange(Tq)[:, None]
'''),
    Mutant("06.1", "hides the token itself", "A token may look at itself: j ≤ i + offset, not j < i + offset.", '''
def visible(Tq, Tk, offset):
    return np.arange(Tk) < np.arange(Tq)[:, None] + offset
'''),
    Mutant("06.1", "looks into the future", "Your mask shows what lies ahead and hides what came before. A model trained with it copies the answer.", '''
def visible(Tq, Tk, offset):
    return np.arange(Tk) >= np.arange(Tq)[:, None] + offset
'''),
    Mutant("06.1", "is transposed", "Rows are queries and columns are keys; yours are the other way round.", '''
def visible(Tq, Tk, offset):
    return (np.arange(Tk) <= np.arange(Tq)[:, None] + offset).T
'''),
    Mutant("06.1", "subtracts the offset", "The offset moves the queries toward the end of the text, so it is added to i.", '''
def visible(Tq, Tk, offset):
    return np.arange(Tk) <= np.arange(Tq)[:, None] - offset
'''),
    Mutant("06.1", "works the offset out", "You took Tk − Tq for the offset. That is what a cache needs, but the caller says which offset is meant.", '''
def visible(Tq, Tk, offset):
    return np.arange(Tk) <= np.arange(Tq)[:, None] + Tk - Tq
'''),
    Mutant("06.2", "forgets the scale", "The scores are not divided by √d. They grow with d, and the softmax then picks one key alone.", '''
def weights(q, k, mask):
    return softmax(np.where(mask, q @ np.swapaxes(k, -1, -2), -1e30), axis=-1) * mask
'''),
    Mutant("06.2", "divides by d", "You divide by d. A sum of d products of random numbers grows like √d.", '''
def weights(q, k, mask):
    return softmax(np.where(mask, q @ np.swapaxes(k, -1, -2) / q.shape[-1], -1e30), axis=-1) * mask
'''),
    Mutant("06.2", "takes the softmax over queries", "The softmax runs over the keys, the last axis: each query shares out 1 among the keys.", '''
def weights(q, k, mask):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return softmax(np.where(mask, scores, -1e30), axis=-2) * mask
'''),
    Mutant("06.2", "masks after the softmax", "You hide keys after the softmax. Then they have already taken their share, and a row no longer sums to 1.", '''
def weights(q, k, mask):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), axis=-1) * mask
'''),
    Mutant("06.2", "sets hidden scores to zero", "A hidden score of 0 still gets e⁰ = 1 in the softmax. It has to be −∞, or a number very far down.", '''
def weights(q, k, mask):
    P = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]) * mask, axis=-1)
    return P
'''),
    Mutant("06.2", "is NaN where nothing is visible", "A row that is −∞ everywhere gives ∞ − ∞ = NaN. A query that may look at nothing should get zeros.", '''
def weights(q, k, mask):
    return softmax(np.where(mask, q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -np.inf), axis=-1)
'''),
    Mutant("06.2", "turns the mask around", "True means visible; you hid what may be seen.", '''
def weights(q, k, mask):
    return softmax(np.where(mask, -1e30, q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])), axis=-1) * ~mask
'''),
    Mutant("06.2", "measures from hidden scores", "You take the maximum over hidden scores too, or over other queries. If it is "
           "far above a row's visible scores, all of that row becomes 0/0. Hide first, then take each row's own maximum.", '''
def weights(q, k, mask):
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    e = np.exp(s - s.max(axis=-1, keepdims=True)) * mask
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(mask.any(axis=-1, keepdims=True), total, 1)
'''),
    Mutant("06.3", "reshapes without moving axes", "reshape alone gives the right shape and the wrong numbers: it cuts the text into H pieces instead of each token's "
           "vector. Split the last axis, then swap heads and tokens.", '''
def split_heads(x, H):
    B, T, D = x.shape
    return x.reshape(B, H, T, D // H)
'''),
    Mutant("06.3", "interleaves the heads", "Head h should get D/H numbers in a row, not every H-th number: the last axis is (H, D/H), in this order.", '''
def split_heads(x, H):
    B, T, D = x.shape
    return x.reshape(B, T, D // H, H).transpose(0, 3, 1, 2)
'''),
    Mutant("06.3", "leaves the tokens in front", "The axes are (B, T, H, D/H). Attention needs the heads before the tokens, so that each head is a matrix of its own.", '''
def split_heads(x, H):
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H)
'''),
    Mutant("06.3", "swaps tokens and numbers", "The last two axes are exchanged: (…, tokens, numbers) is wanted.", '''
def split_heads(x, H):
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H).transpose(0, 2, 3, 1)
'''),
    Mutant("06.3", "makes heads of size H", "H is the number of heads, not the size of one.", '''
def split_heads(x, H):
    B, T, D = x.shape
    return x.reshape(B, T, D // H, H).swapaxes(1, 2)
'''),
    Mutant("06.4", "reshapes without moving axes", "reshape alone puts numbers of different tokens side by side. Bring the tokens in front of the heads first.", '''
def merge_heads(y):
    B, H, T, d = y.shape
    return y.reshape(B, T, H * d)
'''),
    Mutant("06.4", "adds the heads", "You summed the heads. They are put side by side: each keeps its own d numbers.", '''
def merge_heads(y):
    return y.sum(axis=1)
'''),
    Mutant("06.4", "interleaves the heads", "The numbers of one head belong together; yours alternate between heads.", '''
def merge_heads(y):
    B, H, T, d = y.shape
    return y.transpose(0, 2, 3, 1).reshape(B, T, H * d)
'''),
    Mutant("06.4", "keeps the heads apart", "The axes are right, but the heads are not joined: the last two have to become one of H·d numbers.", '''
def merge_heads(y):
    return y.swapaxes(1, 2)
'''),
    Mutant("06.4", "reverses the heads", "Head 0 comes first; yours are in the opposite order.", '''
def merge_heads(y):
    B, H, T, d = y.shape
    return y[:, ::-1].swapaxes(1, 2).reshape(B, T, H * d)
'''),
    Mutant("06.5", "ignores the cotangent", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no other.", '''
def attention_vjp(gy, P, q, k, v):
    gy = np.ones_like(gy)
    gP = gy @ np.swapaxes(v, -1, -2)
    gs = P * (gP - (gP * P).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.5", "forgets that weights sum to one", "You took gs = P·gP. Raising one score lowers all other weights of its row: the sum Σ gP·P has to go off.", '''
def attention_vjp(gy, P, q, k, v):
    gP = gy @ np.swapaxes(v, -1, -2)
    gs = P * gP / np.sqrt(q.shape[-1])
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.5", "passes through the softmax as it is", "The gradient of the scores is not that of the weights: the softmax lies between them.", '''
def attention_vjp(gy, P, q, k, v):
    gs = gy @ np.swapaxes(v, -1, -2) / np.sqrt(q.shape[-1])
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.5", "forgets the scale", "The scores were divided by √d in the forward pass; so are the gradients of q and k.", '''
def attention_vjp(gy, P, q, k, v):
    gP = gy @ np.swapaxes(v, -1, -2)
    gs = P * (gP - (gP * P).sum(axis=-1, keepdims=True))
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.5", "sums over queries", "The softmax's sum runs over the keys of one query, the last axis; yours runs over the queries.", '''
def attention_vjp(gy, P, q, k, v):
    gP = gy @ np.swapaxes(v, -1, -2)
    gs = P * (gP - (gP * P).sum(axis=-2, keepdims=True)) / np.sqrt(q.shape[-1])
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.5", "spreads gv evenly", "Each value gets gy weighted with P, by as much as each query looked at it; you gave all of them the same.", '''
def attention_vjp(gy, P, q, k, v):
    gP = gy @ np.swapaxes(v, -1, -2)
    gs = P * (gP - (gP * P).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, np.broadcast_to(gy.mean(axis=-2, keepdims=True), v.shape)
'''),
    Mutant("06.5", "treats the weights as constants", "gq and gk are zero: the weights depend on q and k, so the gradient goes on through them.", '''
def attention_vjp(gy, P, q, k, v):
    return np.zeros_like(q), np.zeros_like(k), np.swapaxes(P, -1, -2) @ gy
'''),
    Mutant("06.6", "does not see itself", "You attend to the cache as it was before. The new token sees itself as well, so its key and value go in first.", '''
def step(q, k, v, K, V):
    y = softmax(q @ K.T / np.sqrt(q.shape[1]), axis=1) @ V if len(K) else 0 * v
    return y, np.concatenate([K, k]), np.concatenate([V, v])
'''),
    Mutant("06.6", "returns the old cache", "The output is right, but the cache that you return lacks the new token; the next one will not see it.", '''
def step(q, k, v, K, V):
    keys, values = np.concatenate([K, k]), np.concatenate([V, v])
    return softmax(q @ keys.T / np.sqrt(q.shape[1]), axis=1) @ values, K, V
'''),
    Mutant("06.6", "puts the new token first", "New keys and values go behind the old ones. The output does not show it, but whoever reads the cache by position does.", '''
def step(q, k, v, K, V):
    K, V = np.concatenate([k, K]), np.concatenate([v, V])
    return softmax(q @ K.T / np.sqrt(q.shape[1]), axis=1) @ V, K, V
'''),
    Mutant("06.6", "forgets the scale", "The scores have to be divided by √d here as well, or decoding computes something else than training did.", '''
def step(q, k, v, K, V):
    K, V = np.concatenate([K, k]), np.concatenate([V, v])
    return softmax(q @ K.T, axis=1) @ V, K, V
'''),
    Mutant("06.6", "caches the queries", "You stored q in the place of k. Queries are used once; keys are what later tokens are compared with.", '''
def step(q, k, v, K, V):
    K, V = np.concatenate([K, q]), np.concatenate([V, v])
    return softmax(q @ K.T / np.sqrt(q.shape[1]), axis=1) @ V, K, V
'''),
    Mutant("06.6", "looks at itself alone", "Only the new token's own value comes out: the cache is not used.", '''
def step(q, k, v, K, V):
    return v.copy(), np.concatenate([K, k]), np.concatenate([V, v])
'''),
    Mutant("06.6", "overflows", "e³⁶⁰⁰ is larger than any floating-point number, and ∞/∞ is not a number. Take the largest score "
           "away first; softmax above does.", '''
def step(q, k, v, K, V):
    K, V = np.concatenate([K, k]), np.concatenate([V, v])
    e = np.exp(q @ K.T / np.sqrt(q.shape[-1]))
    return e / e.sum() @ V, K, V
'''),
]

ALLOWED = {
    "weights: 1e+30 -> 2e+30": "any number that far below every score has the weight 0",
}
