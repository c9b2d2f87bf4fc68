"""Wrong answers to the exercises of lesson 13, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("13.1", "appends the prompt", "You put the prompt behind the tokens. Attention is causal: the tokens would never see it.", '''
def prepend_prompt(x, E, positions):
    both = np.concatenate([x, E])
    if len(both) > len(positions):
        raise ValueError("too long")
    return both + positions[:len(both)]
'''),
    Mutant("13.1", "lets the tokens keep their positions", "Your real tokens still begin at position 0. With a prompt before them they move up "
           "by P.", '''
def prepend_prompt(x, E, positions):
    if len(E) + len(x) > len(positions):
        raise ValueError("too long")
    return np.concatenate([E + positions[:len(E)], x + positions[:len(x)]])
'''),
    Mutant("13.1", "gives the prompt no positions", "The soft tokens stand at positions too: 0 … P−1.", '''
def prepend_prompt(x, E, positions):
    if len(E) + len(x) > len(positions):
        raise ValueError("too long")
    return np.concatenate([E, x + positions[len(E):len(E) + len(x)]])
'''),
    Mutant("13.1", "forgets the context", "Prompt and tokens together must fit into the context; you do not look.", '''
def prepend_prompt(x, E, positions):
    both = np.concatenate([E, x])
    return both + np.resize(positions, (len(both), positions.shape[1]))
'''),
    Mutant("13.1", "checks the tokens alone", "The prompt needs room as well: P + T tokens go into the model.", '''
def prepend_prompt(x, E, positions):
    if len(x) > len(positions):
        raise ValueError("too long")
    both = np.concatenate([E, x])
    return both + np.resize(positions, (len(both), positions.shape[1]))
'''),
    Mutant("13.2", "masks the prefix like tokens", "You let the triangle run over the prefix too, so early tokens see only a part of it. The prefix is "
           "the past of all of them.", '''
def prefix_mask(T, P):
    return np.tril(np.ones((T, P + T), dtype=bool))
'''),
    Mutant("13.2", "lets everything be seen", "Among the tokens themselves attention is still causal.", '''
def prefix_mask(T, P):
    return np.ones((T, P + T), dtype=bool)
'''),
    Mutant("13.2", "makes a square", "Prefix slots are keys and values, not queries: there are T rows, not P + T.", '''
def prefix_mask(T, P):
    return np.tril(np.ones((P + T, P + T), dtype=bool))
'''),
    Mutant("13.2", "hides the token itself", "A token sees itself: the diagonal is True.", '''
def prefix_mask(T, P):
    return np.concatenate([np.ones((T, P), dtype=bool), np.tril(np.ones((T, T), dtype=bool), -1)], axis=1)
'''),
    Mutant("13.2", "swaps the two parts", "The prefix's columns come first, as its keys do.", '''
def prefix_mask(T, P):
    return np.concatenate([np.tril(np.ones((T, T), dtype=bool)), np.ones((T, P), dtype=bool)], axis=1)
'''),
    Mutant("13.3", "forgets the causal mask", "Your queries see tokens that come after them.", '''
def prefix_attention(q, k, v, pk, pv):
    return softmax(q @ np.concatenate([pk, k]).T / np.sqrt(q.shape[1])) @ np.concatenate([pv, v])
'''),
    Mutant("13.3", "lets the triangle run over the prefix", "Your triangle starts at the first prefix key. Query i sees keys 0 … P + i.", '''
def prefix_attention(q, k, v, pk, pv):
    T, d = q.shape
    keys, values = np.concatenate([pk, k]), np.concatenate([pv, v])
    hidden = np.arange(len(keys)) > np.arange(T)[:, None]
    return softmax(np.where(hidden, -np.inf, q @ keys.T / np.sqrt(d))) @ values
'''),
    Mutant("13.3", "forgets the scale", "Scores are divided by √d.", '''
def prefix_attention(q, k, v, pk, pv):
    keys, values = np.concatenate([pk, k]), np.concatenate([pv, v])
    hidden = np.arange(len(keys)) > len(pk) + np.arange(len(q))[:, None]
    return softmax(np.where(hidden, -np.inf, q @ keys.T)) @ values
'''),
    Mutant("13.3", "adds two softmaxes", "You gave prefix and tokens a softmax each and added. In prefix tuning they share one: what the prefix gets, the "
           "tokens lose.", '''
def prefix_attention(q, k, v, pk, pv):
    T, d = q.shape
    hidden = np.arange(T) > np.arange(T)[:, None]
    return softmax(np.where(hidden, -np.inf, q @ k.T / np.sqrt(d))) @ v + softmax(q @ pk.T / np.sqrt(d)) @ pv
'''),
    Mutant("13.3", "masks with zero", "A hidden score became 0, and exp(0) is 1: it still gets weight. It has to be −inf.", '''
def prefix_attention(q, k, v, pk, pv):
    T, d = q.shape
    keys, values = np.concatenate([pk, k]), np.concatenate([pv, v])
    hidden = np.arange(len(keys)) > len(pk) + np.arange(T)[:, None]
    return softmax(np.where(hidden, 0.0, q @ keys.T / np.sqrt(d))) @ values
'''),
    Mutant("13.3", "measures from hidden scores", "You take the softmax over all keys and share what is left. Where a hidden "
           "score is far above the visible ones, nothing is left: 0/0. Hide first, then take the softmax.", '''
def prefix_attention(q, k, v, pk, pv):
    K, V = np.concatenate([pk, k]), np.concatenate([pv, v])
    w = softmax(q @ K.T / np.sqrt(q.shape[1])) * np.tril(np.ones((len(q), len(K))), len(pk))
    return w / w.sum(axis=1, keepdims=True) @ V
'''),
    Mutant("13.4", "returns the tokens' share", "That is 1 − λ: what is left for the tokens.", '''
def gate(q, k, pk):
    weights = softmax(q @ np.concatenate([pk, k]).T / np.sqrt(q.shape[1]))
    return weights[:, len(pk):].sum(axis=1)
'''),
    Mutant("13.4", "takes the mean", "λ is the sum of the prefix's weights, not their mean.", '''
def gate(q, k, pk):
    weights = softmax(q @ np.concatenate([pk, k]).T / np.sqrt(q.shape[1]))
    return weights[:, :len(pk)].mean(axis=1)
'''),
    Mutant("13.4", "forgets the scale", "Scores are divided by √d here too.", '''
def gate(q, k, pk):
    return softmax(q @ np.concatenate([pk, k]).T)[:, :len(pk)].sum(axis=1)
'''),
    Mutant("13.4", "counts slots", "You returned the share of keys that belong to the prefix. How much attention they get depends on the query.", '''
def gate(q, k, pk):
    return np.full(len(q), len(pk) / (len(pk) + len(k)))
'''),
    Mutant("13.4", "overflows", "e⁶⁰⁰⁰ is larger than any floating-point number, and ∞/∞ is not a number. softmax above takes "
           "the largest score away first.", '''
def gate(q, k, pk):
    prefix, own = (np.exp(q @ keys.T / np.sqrt(q.shape[1])).sum(axis=1) for keys in (pk, k))
    return prefix / (prefix + own)
'''),
    Mutant("13.5", "shares one softmax", "One softmax over both never gives the base model, not even with a prefix of zeros. Two softmaxes and a gate do.", '''
def gated_attention(q, k, v, pk, pv, g):
    d = q.shape[1]
    return softmax(q @ np.concatenate([pk, k]).T / np.sqrt(d)) @ np.concatenate([np.tanh(g) * pv, v])
'''),
    Mutant("13.5", "forgets tanh", "The gate is tanh(g), which keeps it between −1 and 1.", '''
def gated_attention(q, k, v, pk, pv, g):
    d = q.shape[1]
    return softmax(q @ k.T / np.sqrt(d)) @ v + g * softmax(q @ pk.T / np.sqrt(d)) @ pv
'''),
    Mutant("13.5", "gates both parts", "Only the prefix is gated; attention over the tokens stays whole. With your form g = 0 silences the model.", '''
def gated_attention(q, k, v, pk, pv, g):
    d = q.shape[1]
    return np.tanh(g) * (softmax(q @ k.T / np.sqrt(d)) @ v + softmax(q @ pk.T / np.sqrt(d)) @ pv)
'''),
    Mutant("13.5", "mixes", "You mix the two with weights that sum to 1. Here the prefix's part is added and nothing is taken away.", '''
def gated_attention(q, k, v, pk, pv, g):
    d = q.shape[1]
    return (1 - np.tanh(g)) * softmax(q @ k.T / np.sqrt(d)) @ v + np.tanh(g) * softmax(q @ pk.T / np.sqrt(d)) @ pv
'''),
    Mutant("13.6", "forgets the values", "A prefix slot has a key AND a value in each layer.", '''
def trained(P, D, layers):
    return P * D, layers * P * D
'''),
    Mutant("13.6", "puts the prefix into one layer", "A prefix has keys and values in every layer.", '''
def trained(P, D, layers):
    return P * D, 2 * P * D
'''),
    Mutant("13.6", "gives the prompt every layer", "A soft prompt is read once, at the input.", '''
def trained(P, D, layers):
    return layers * P * D, 2 * layers * P * D
'''),
    Mutant("13.6", "swaps the two", "The order is (prompt, prefix).", '''
def trained(P, D, layers):
    return 2 * layers * P * D, P * D
'''),
]
