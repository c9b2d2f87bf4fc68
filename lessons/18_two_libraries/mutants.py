"""Wrong answers to the exercises of lesson 18, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("18.1", "takes the first array's", "You looked at the first array only. A second one of another library must not pass: on a GPU the mix "
           "fails later, with a message that does not say where it began.", '''
def library(arrays, libraries):
    for a in arrays:
        if isinstance(a, int | float):
            continue
        for kind, xp in libraries:
            if isinstance(a, kind):
                return xp
        raise TypeError(type(a).__name__)
'''),
    Mutant("18.1", "prefers the device", "One device array among host arrays made everything the device's. That hides the mix instead of refusing "
           "it.", '''
def library(arrays, libraries):
    found = None
    for a in arrays:
        if isinstance(a, int | float):
            continue
        mine = [xp for kind, xp in libraries if isinstance(a, kind)]
        if not mine:
            raise TypeError(type(a).__name__)
        if mine[0] is not np:
            return mine[0]
        found = np
    return found
'''),
    Mutant("18.1", "refuses numbers", "A Python number belongs to no library and goes with every one: 0.5 · x must work.", '''
def library(arrays, libraries):
    found = None
    for a in arrays:
        mine = [xp for kind, xp in libraries if isinstance(a, kind)]
        if not mine or found is not None and mine[0] is not found:
            raise TypeError(type(a).__name__)
        found = mine[0]
    return found
'''),
    Mutant("18.1", "takes what it does not know for NumPy's", "A list or a string is no array of NumPy's. Refuse it, or it travels on until something "
           "else fails.", '''
def library(arrays, libraries):
    found = None
    for a in arrays:
        if isinstance(a, int | float):
            continue
        mine = ([xp for kind, xp in libraries if isinstance(a, kind)] or [np])[0]
        if found is not None and mine is not found:
            raise TypeError(type(a).__name__)
        found = mine
    return found
'''),
    Mutant("18.1", "always says NumPy", "You return numpy whatever the arrays are. Ask each array.", '''
def library(arrays, libraries):
    return np
'''),
    Mutant("18.1", "never refuses", "You answer with the first library you meet and raise nothing: neither two libraries nor an unknown thing may "
           "pass.", '''
def library(arrays, libraries):
    for a in arrays:
        for kind, xp in libraries:
            if isinstance(a, kind):
                return xp
'''),
    Mutant("18.2", "calls NumPy", "np.tanh is NumPy's: a device array refuses it. Call the library that you were given, xp.tanh.", '''
def gelu(x, xp):
    c = math.sqrt(2 / math.pi)
    return 0.5 * x * (1 + np.tanh(c * (x + 0.044715 * x * x * x)))
'''),
    Mutant("18.2", "computes the constant with NumPy", "np.sqrt(2 / np.pi) is a NumPy float64 number, and since NumPy 2 it makes everything it touches "
           "float64: twice the memory, from there to the end. math.sqrt gives a Python float, which adapts.", '''
def gelu(x, xp):
    c = np.sqrt(2 / np.pi)
    return 0.5 * x * (1 + xp.tanh(c * (x + 0.044715 * x * x * x)))
'''),
    Mutant("18.2", "casts at the end", "You computed in float64 and cast the result. The large intermediate arrays were float64 all the same.", '''
def gelu(x, xp):
    c = np.sqrt(2 / np.pi)
    return (0.5 * x * (1 + xp.tanh(c * (x + 0.044715 * x * x * x)))).astype(x.dtype)
'''),
    Mutant("18.2", "goes over the host", "You fetched the array, computed with NumPy and sent it back: two trips, and the device waits for both.", '''
def gelu(x, xp):
    a = x.get() if hasattr(x, "get") else x
    c = math.sqrt(2 / math.pi)
    return xp.asarray(0.5 * a * (1 + np.tanh(c * (a + 0.044715 * a * a * a))))
'''),
    Mutant("18.2", "forgets the cube", "The argument of tanh has a cubic term: x + 0.044715·x³.", '''
def gelu(x, xp):
    return 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x)))
'''),
    Mutant("18.3", "does not check", "You did not check the ids. NumPy would count negative ones from the end; CuPy also lets those "
           "that are too large wrap around, without a word.", '''
def embed(table, ids, send):
    return table[send(np.asarray(ids))]
'''),
    Mutant("18.3", "lets negative ids pass", "-1 is no token. NumPy takes it for the last row, and nobody notices.", '''
def embed(table, ids, send):
    ids = np.asarray(ids)
    if (ids >= table.shape[0]).any():
        raise IndexError("an id is too large")
    return table[send(ids)]
'''),
    Mutant("18.3", "checks on the device", "You sent the ids first and checked them there: `if` on a device array makes the host wait for the answer, in "
           "every step.", '''
def embed(table, ids, send):
    ids = send(np.asarray(ids))
    if bool(((ids < 0) | (ids >= table.shape[0])).any()):
        raise IndexError("an id is out of range")
    return table[ids]
'''),
    Mutant("18.3", "indexes with the host's ids", "The ids are still a host array. A device refuses that, or sends them silently, in every step.", '''
def embed(table, ids, send):
    ids = np.asarray(ids)
    if ((ids < 0) | (ids >= table.shape[0])).any():
        raise IndexError("an id is out of range")
    return table[ids]
'''),
    Mutant("18.3", "writes what NumPy would allow", "table[ids] is enough where ids and table lie in the same memory. Here the ids are on the host: check "
           "them there, then send them.", '''
def embed(table, ids, send):
    return table[ids]
'''),
    Mutant("18.3", "sends id by id", "You sent one id after the other. Each transfer has a price of its own: send one array.", '''
def embed(table, ids, send):
    ids = np.asarray(ids)
    if ((ids < 0) | (ids >= table.shape[0])).any():
        raise IndexError("an id is out of range")
    sent = [send(i) for i in ids.ravel()]
    return table[send(ids)]
'''),
    Mutant("18.4", "asks if the norm is too large", "`if norm > max_norm` needs the number on the host: it waits for the device. Compute the factor there, with "
           "xp.maximum.", '''
def clip(grads, max_norm, xp):
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    if norm > max_norm:
        return [g * (max_norm / norm) for g in grads]
    return [g * 1.0 for g in grads]
'''),
    Mutant("18.4", "fetches the norm", "float(norm) waits until the device has finished everything before it. The factor can stay there.", '''
def clip(grads, max_norm, xp):
    norm = float(xp.sqrt(sum((g * g).sum() for g in grads)))
    return [g * (max_norm / max(norm, max_norm)) for g in grads]
'''),
    Mutant("18.4", "stretches short gradients", "Your factor may be above 1. Clipping only shortens.", '''
def clip(grads, max_norm, xp):
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    return [g * (max_norm / xp.maximum(norm, 1e-30)) for g in grads]
'''),
    Mutant("18.4", "clips each alone", "You shortened each gradient by its own length. One factor belongs to all, or the direction of the step changes.", '''
def clip(grads, max_norm, xp):
    return [g * (max_norm / xp.maximum(xp.sqrt((g * g).sum()), max_norm)) for g in grads]
'''),
    Mutant("18.4", "divides by zero", "max_norm / norm is infinite for gradients of 0, and 0 · inf is NaN. Divide by max(norm, max_norm).", '''
def clip(grads, max_norm, xp):
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    return [xp.where(norm > max_norm, 1.0, 0.0).astype(g.dtype) * g * (max_norm / norm)
            + xp.where(norm > max_norm, 0.0, 1.0).astype(g.dtype) * g for g in grads]
'''),
    Mutant("18.4", "writes into the gradients", "You changed the arrays that came in; somebody else may hold them.", '''
def clip(grads, max_norm, xp):
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    factor = max_norm / xp.maximum(norm, max_norm)
    for g in grads:
        g *= factor
    return grads
'''),
    Mutant("18.5", "fetches every loss", "You fetched each loss: the host waited once per step. Gather on the device, fetch once.", '''
def mean_loss(losses, xp):
    return sum(float(v) for v in losses) / len(losses)
'''),
    Mutant("18.5", "fetches the last only", "That is the last loss; the mean of all was asked for.", '''
def mean_loss(losses, xp):
    return float(losses[-1])
'''),
    Mutant("18.5", "returns an array", "The result is still an array on the device. The caller wants a number: fetch it, once.", '''
def mean_loss(losses, xp):
    return xp.stack(losses).mean()
'''),
    Mutant("18.5", "returns the sum", "You added the losses and did not divide by their number.", '''
def mean_loss(losses, xp):
    return float(xp.stack(losses).sum())
'''),
    Mutant("18.5", "calls NumPy", "np.mean wants host arrays; a device array is not converted behind your back. Stay with xp.", '''
def mean_loss(losses, xp):
    return float(np.mean(losses))
'''),
    Mutant("18.6", "draws on its own", "You made a generator of your own. Then nobody can repeat the run, and every call drops the same entries.", '''
def dropout(x, p, rng, send):
    keep = np.random.default_rng(0).random(x.shape) >= p
    return x * send(keep) * (1 / (1 - p))
'''),
    Mutant("18.6", "divides the mask", "A mask of True and False divided by a number is float64, and so is all that follows. Multiply x by the mask, "
           "then by a Python number.", '''
def dropout(x, p, rng, send):
    keep = rng.random(x.shape) >= p
    return x * send(keep / (1 - p))
'''),
    Mutant("18.6", "does not scale", "The entries that stay must be divided by 1 - p, so that the mean is what it was.", '''
def dropout(x, p, rng, send):
    keep = rng.random(x.shape) >= p
    return x * send(keep) * 1.0
'''),
    Mutant("18.6", "keeps with probability p", "You kept where the draw is below p: that drops the share 1 - p.", '''
def dropout(x, p, rng, send):
    keep = rng.random(x.shape) < p
    return x * send(keep) * (1 / (1 - p))
'''),
    Mutant("18.6", "leaves the mask on the host", "The mask is a host array; x may live on a device. Send it.", '''
def dropout(x, p, rng, send):
    keep = rng.random(x.shape) >= p
    return x * keep * (1 / (1 - p))
'''),
    Mutant("18.6", "drops whole rows", "You drew one number per row; every entry has its own.", '''
def dropout(x, p, rng, send):
    keep = rng.random((x.shape[0], 1)) >= p
    return x * send(keep) * (1 / (1 - p))
'''),
]

ALLOWED = {}
