"""Wrong answers to the exercises of lesson 12, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("12.1", "makes W_up random", "W_up is random, so the adapter adds something before it has learned anything, and training starts "
           "from a disturbed model.", '''
def adapter_init(d, r, rng):
    return rng.normal(0, 1 / np.sqrt(d), (r, d)), np.zeros(r), rng.normal(0, 1 / np.sqrt(r), (d, r)), np.zeros(d)
'''),
    Mutant("12.1", "makes everything zero", "Everything is zero: the bottleneck's values are zero, and so is W_up's gradient. Only b_up could "
           "move.", '''
def adapter_init(d, r, rng):
    return np.zeros((r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)
'''),
    Mutant("12.1", "swaps down and up", "W_down is the one that maps d numbers to r: its shape is (r, d).", '''
def adapter_init(d, r, rng):
    return rng.normal(0, 1 / np.sqrt(d), (d, r)), np.zeros(d), np.zeros((r, d)), np.zeros(r)
'''),
    Mutant("12.1", "forgets the scale", "Your W_down has standard deviation 1. A sum over d such products grows like √d; 1/√d keeps it at the "
           "size of its input.", '''
def adapter_init(d, r, rng):
    return rng.normal(0, 1, (r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)
'''),
    Mutant("12.2", "forgets the way past", "The input itself is missing from the sum: without it, a fresh adapter would erase what the layer "
           "below computed.", '''
def adapter_forward(h, W_down, b_down, W_up, b_up):
    return np.maximum(h @ W_down.T + b_down, 0) @ W_up.T + b_up
'''),
    Mutant("12.2", "forgets the ReLU", "Without the nonlinearity two matrices are one: this is an update of low rank, not a network.", '''
def adapter_forward(h, W_down, b_down, W_up, b_up):
    return h + (h @ W_down.T + b_down) @ W_up.T + b_up
'''),
    Mutant("12.2", "applies the ReLU at the end", "The ReLU belongs in the bottleneck, between down and up.", '''
def adapter_forward(h, W_down, b_down, W_up, b_up):
    return h + np.maximum((h @ W_down.T + b_down) @ W_up.T + b_up, 0)
'''),
    Mutant("12.2", "adds b_down after the ReLU", "b_down is part of what the ReLU sees.", '''
def adapter_forward(h, W_down, b_down, W_up, b_up):
    return h + (np.maximum(h @ W_down.T, 0) + b_down) @ W_up.T + b_up
'''),
    Mutant("12.2", "forgets the biases", "Both layers of the bottleneck have a bias.", '''
def adapter_forward(h, W_down, b_down, W_up, b_up):
    return h + np.maximum(h @ W_down.T, 0) @ W_up.T
'''),
    Mutant("12.3", "forgets the way past", "h reaches the output on two paths; the gradient of the direct one (gy itself) is missing in gh.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    a = h @ W_down.T + b_down
    ga = gy @ W_up * (a > 0)
    return ga @ W_down, ga.T @ h, ga.sum(axis=0), gy.T @ np.maximum(a, 0), gy.sum(axis=0)
'''),
    Mutant("12.3", "forgets the ReLU", "Where the ReLU gave zero, no gradient passes; you let all of it through.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    a = h @ W_down.T + b_down
    ga = gy @ W_up
    return gy + ga @ W_down, ga.T @ h, ga.sum(axis=0), gy.T @ np.maximum(a, 0), gy.sum(axis=0)
'''),
    Mutant("12.3", "masks by the gradient", "Whether a gradient passes depends on the sign of the value in the bottleneck, not of the gradient.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    a = h @ W_down.T + b_down
    ga = np.maximum(gy @ W_up, 0)
    return gy + ga @ W_down, ga.T @ h, ga.sum(axis=0), gy.T @ np.maximum(a, 0), gy.sum(axis=0)
'''),
    Mutant("12.3", "ignores the cotangent", "Your gradients do not depend on gy. They are right for a loss that sums the output, and for no other.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    gy = np.ones_like(gy)
    a = h @ W_down.T + b_down
    ga = gy @ W_up * (a > 0)
    return gy + ga @ W_down, ga.T @ h, ga.sum(axis=0), gy.T @ np.maximum(a, 0), gy.sum(axis=0)
'''),
    Mutant("12.3", "takes the mean for the biases", "A bias is added to every row, so its gradient is the sum over rows, not their mean.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    a = h @ W_down.T + b_down
    ga = gy @ W_up * (a > 0)
    return gy + ga @ W_down, ga.T @ h, ga.mean(axis=0), gy.T @ np.maximum(a, 0), gy.mean(axis=0)
'''),
    Mutant("12.3", "uses the value before the ReLU", "gW_up multiplies gy with what W_up was multiplied with: the bottleneck AFTER the ReLU.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    a = h @ W_down.T + b_down
    ga = gy @ W_up * (a > 0)
    return gy + ga @ W_down, ga.T @ h, ga.sum(axis=0), gy.T @ a, gy.sum(axis=0)
'''),
    Mutant("12.3", "forgets b_down in the mask", "What the ReLU saw was W_down·h + b_down. You ask for the sign of W_down·h "
           "alone.", '''
def adapter_vjp(gy, h, W_down, b_down, W_up):
    z = np.maximum(h @ W_down.T + b_down, 0)
    gz = gy @ W_up * (h @ W_down.T > 0)
    return gy + gz @ W_down, gz.T @ h, gz.sum(axis=0), gy.T @ z, gy.sum(axis=0)
'''),
    Mutant("12.4", "adapts the sum", "You applied the adapter to x + sub-layer. It belongs inside: to what the sub-layer gives, before x is "
           "added.", '''
def insert(block, adapt_attention, adapt_mlp):
    def adapted(x):
        x = adapt_attention(x + block["attention"](block["norm1"](x)))
        return adapt_mlp(x + block["mlp"](block["norm2"](x)))
    return adapted
'''),
    Mutant("12.4", "adapts only the MLP", "The adapter after attention is missing. (One per block, after the MLP, is Pfeiffer's variant.)", '''
def insert(block, adapt_attention, adapt_mlp):
    def adapted(x):
        x = x + block["attention"](block["norm1"](x))
        return x + adapt_mlp(block["mlp"](block["norm2"](x)))
    return adapted
'''),
    Mutant("12.4", "runs both on the same x", "The second half of the block starts from the result of the first half, not from the block's "
           "input.", '''
def insert(block, adapt_attention, adapt_mlp):
    def adapted(x):
        return x + adapt_attention(block["attention"](block["norm1"](x))) + adapt_mlp(block["mlp"](block["norm2"](x)))
    return adapted
'''),
    Mutant("12.4", "swaps the two adapters", "The two adapters are exchanged.", '''
def insert(block, adapt_attention, adapt_mlp):
    def adapted(x):
        x = x + adapt_mlp(block["attention"](block["norm1"](x)))
        return x + adapt_attention(block["mlp"](block["norm2"](x)))
    return adapted
'''),
    Mutant("12.4", "adapts the input of the sub-layer", "Your adapters sit before the sub-layers; they belong behind them.", '''
def insert(block, adapt_attention, adapt_mlp):
    def adapted(x):
        x = x + block["attention"](adapt_attention(block["norm1"](x)))
        return x + block["mlp"](adapt_mlp(block["norm2"](x)))
    return adapted
'''),
    Mutant("12.4", "changes the block", "You put the adapters into the block itself. The base model is changed, and a second "
           "adapter would sit on top of the first.", '''
def insert(block, adapt_attention, adapt_mlp):
    attention, mlp = block["attention"], block["mlp"]
    block["attention"], block["mlp"] = lambda x: adapt_attention(attention(x)), lambda x: adapt_mlp(mlp(x))
    def run(x):
        x = x + block["attention"](block["norm1"](x))
        return x + block["mlp"](block["norm2"](x))
    return run
'''),
    Mutant("12.5", "counts one adapter per block", "There are two adapters in each block.", '''
def trained(layers, d, r):
    return layers * (2 * d * r + r + d)
'''),
    Mutant("12.5", "forgets the biases", "The biases are trained too: r numbers down, d numbers up.", '''
def trained(layers, d, r):
    return 2 * layers * 2 * d * r
'''),
    Mutant("12.5", "gives both biases length d", "b_down has r numbers, b_up has d.", '''
def trained(layers, d, r):
    return 2 * layers * (2 * d * r + 2 * d)
'''),
    Mutant("12.5", "counts one matrix", "An adapter has two matrices.", '''
def trained(layers, d, r):
    return 2 * layers * (d * r + r + d)
'''),
]

ALLOWED = {
    "adapter_vjp: a > 0 -> a >= 0": "at exactly 0 the slope of ReLU is a convention",
}
