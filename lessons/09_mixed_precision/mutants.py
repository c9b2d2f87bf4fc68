"""Wrong answers to the exercises of lesson 09, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("09.1", "counts the true zeros", "Gradients that are exactly 0 (a masked token, an unused embedding) lose nothing. Count among the "
           "others only.", '''
def underflow_share(g, scale):
    return float((fp16(g * scale) == 0).mean())
'''),
    Mutant("09.1", "divides by all", "You counted the lost ones rightly, but divided by the number of all gradients, the zeros included.", '''
def underflow_share(g, scale):
    return float(((fp16(g * scale) == 0) & (g != 0)).sum() / g.size)
'''),
    Mutant("09.1", "scales after rounding", "You rounded to fp16 first and multiplied then. What fp16 has turned into 0 stays 0: the scale must "
           "come before.", '''
def underflow_share(g, scale):
    real = g[g != 0]
    return float((fp16(real) * scale == 0).mean()) if real.size else 0.0
'''),
    Mutant("09.1", "takes the smallest normal number for the limit", "Below 2^-14 fp16 loses precision, but only below 2^-25 does a number become "
           "0: the subnormals lie in between.", '''
def underflow_share(g, scale):
    real = g[g != 0]
    return float((np.abs(real * scale) < 2.0 ** -14).mean()) if real.size else 0.0
'''),
    Mutant("09.1", "takes the smallest number for the limit", "Numbers between 2^-25 and 2^-24 are rounded up to 2^-24. The limit of what becomes 0 "
           "is half the smallest number.", '''
def underflow_share(g, scale):
    real = g[g != 0]
    return float((np.abs(real * scale) < 2.0 ** -24).mean()) if real.size else 0.0
'''),
    Mutant("09.1", "returns what survives", "That is the share that is not lost.", '''
def underflow_share(g, scale):
    real = g[g != 0]
    return float((fp16(real * scale) != 0).mean()) if real.size else 0.0
'''),
    Mutant("09.2", "multiplies", "You multiplied by the scale once more. The backward pass has done that already; now it has to be taken out.", '''
def unscale(grads, scale):
    found_inf = not all(np.isfinite(g).all() for g in grads)
    return [g * np.float32(scale) for g in grads], found_inf
'''),
    Mutant("09.2", "writes into the gradients", "You changed the arrays that came in. Called twice, that divides twice.", '''
def unscale(grads, scale):
    found_inf = not all(np.isfinite(g).all() for g in grads)
    for g in grads:
        g /= np.float32(scale)
    return grads, found_inf
'''),
    Mutant("09.2", "looks at the first array only", "You looked for infinities in the first array only. One bad number in any of them spoils the "
           "step.", '''
def unscale(grads, scale):
    return [g / np.float32(scale) for g in grads], not bool(np.isfinite(grads[0]).all())
'''),
    Mutant("09.2", "misses NaN", "np.isinf does not see NaN, and NaN is what inf - inf and 0 · inf make further down.", '''
def unscale(grads, scale):
    return [g / np.float32(scale) for g in grads], any(bool(np.isinf(g).any()) for g in grads)
'''),
    Mutant("09.2", "misses infinity", "np.isnan does not see infinity, and infinity is what an overflow makes.", '''
def unscale(grads, scale):
    return [g / np.float32(scale) for g in grads], any(bool(np.isnan(g).any()) for g in grads)
'''),
    Mutant("09.2", "says whether all is well", "found_inf should be True when something is wrong; yours is True when nothing is.", '''
def unscale(grads, scale):
    return [g / np.float32(scale) for g in grads], all(bool(np.isfinite(g).all()) for g in grads)
'''),
    Mutant("09.3", "steps all the same", "After an overflow the step must be skipped: NaN in one weight spreads to all of them in the next forward "
           "pass.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    factor = max_norm / max(norm, max_norm)
    return [w - np.float32(lr * factor) * g for w, g in zip(weights, grads)]
'''),
    Mutant("09.3", "clips each array alone", "You shortened each array by its own length. Then the direction of the step changes; one factor "
           "belongs to all.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    norms = [np.sqrt((g ** 2).sum()) for g in grads]
    return [w - np.float32(lr * max_norm / max(n, max_norm)) * g for w, g, n in zip(weights, grads, norms)]
'''),
    Mutant("09.3", "stretches short gradients", "Your factor may be above 1: short gradients become longer. Clipping only shortens.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    factor = max_norm / norm if norm > 0 else 1.0
    return [w - np.float32(lr * factor) * g for w, g in zip(weights, grads)]
'''),
    Mutant("09.3", "does not clip", "max_norm is not used: a long gradient must be shortened to it.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    return [w - np.float32(lr) * g for w, g in zip(weights, grads)]
'''),
    Mutant("09.3", "forgets the root", "You compared max_norm with the squared length.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    norm = sum((g ** 2).sum() for g in grads)
    factor = max_norm / max(norm, max_norm)
    return [w - np.float32(lr * factor) * g for w, g in zip(weights, grads)]
'''),
    Mutant("09.3", "clips the entries", "You limited each entry. Clipping by norm keeps the direction: all entries are multiplied by one factor.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    return [w - np.float32(lr) * np.clip(g, -max_norm, max_norm).astype(np.float32) for w, g in zip(weights, grads)]
'''),
    Mutant("09.3", "climbs", "You added the gradient. A step goes against it.", '''
def guarded_step(weights, grads, found_inf, lr, max_norm):
    if found_inf:
        return weights
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    factor = max_norm / max(norm, max_norm)
    return [w + np.float32(lr * factor) * g for w, g in zip(weights, grads)]
'''),
    Mutant("09.4", "keeps counting after an overflow", "An overflow must set the count back to 0: the good steps have to come in a row.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, good_steps
    if good_steps + 1 == interval:
        return scale * growth, 0
    return scale, good_steps + 1
'''),
    Mutant("09.4", "keeps counting after growth", "After raising the scale the count starts again at 0; yours goes on, and the scale is never "
           "raised again.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, 0
    if good_steps + 1 == interval:
        return scale * growth, good_steps + 1
    return scale, good_steps + 1
'''),
    Mutant("09.4", "grows at every good step", "The scale is raised only after `interval` good steps in a row. Raised at every step, it would "
           "overflow at every other one.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, 0
    return scale * growth, good_steps + 1
'''),
    Mutant("09.4", "grows one step late", "The step just made is a good one and counts: you raise the scale one step too late.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, 0
    if good_steps == interval:
        return scale * growth, 0
    return scale, good_steps + 1
'''),
    Mutant("09.4", "only ever lowers it", "A scale that never grows stays where the worst step pushed it.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, 0
    return scale, good_steps + 1
'''),
    Mutant("09.4", "exchanges growth and backoff", "An overflow says that the scale is too high. You raised it.", '''
def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * growth, 0
    if good_steps + 1 == interval:
        return scale * backoff, 0
    return scale, good_steps + 1
'''),
    Mutant("09.5", "counts updates of zero", "An update of 0 is not swallowed: there was nothing to add. Count among the others only.", '''
def swallowed(w, update, rounded):
    return float((rounded(w + update) == w).mean())
'''),
    Mutant("09.5", "does not round", "In float32 hardly any update is lost. Round the sum, as the format would.", '''
def swallowed(w, update, rounded):
    return float((w + update == w)[update != 0].mean())
'''),
    Mutant("09.5", "rounds the update only", "The update is representable on its own; it is lost in the sum. Round w + update.", '''
def swallowed(w, update, rounded):
    return float((w + rounded(update) == w)[update != 0].mean())
'''),
    Mutant("09.5", "asks whether the update underflows", "You asked whether the update itself becomes 0. It is swallowed long before that, because w "
           "is so much larger.", '''
def swallowed(w, update, rounded):
    return float((rounded(update) == 0)[update != 0].mean())
'''),
    Mutant("09.5", "returns what arrives", "That is the share of updates that do change their weight.", '''
def swallowed(w, update, rounded):
    return float((rounded(w + update) != w)[update != 0].mean())
'''),
    Mutant("09.6", "rounds the master", "You carried the rounded weights on. Then small updates are lost again: the master must stay in full "
           "precision.", '''
def master_step(master, g, lr, rounded):
    w = rounded(master - lr * g)
    return w, w
'''),
    Mutant("09.6", "starts from the rounded weight", "You subtracted from rounded(master). What the last steps had gathered below the grid is "
           "thrown away at each step.", '''
def master_step(master, g, lr, rounded):
    master = (rounded(master) - lr * g).astype(np.float32)
    return master, rounded(master)
'''),
    Mutant("09.6", "returns them the other way round", "The order is (master, weights).", '''
def master_step(master, g, lr, rounded):
    master = master - lr * g
    return rounded(master), master
'''),
    Mutant("09.6", "rounds the update", "You rounded lr·g. The update may stay in float32; only the weights for the forward pass are rounded.", '''
def master_step(master, g, lr, rounded):
    master = (master - rounded(lr * g)).astype(np.float32)
    return master, rounded(master)
'''),
    Mutant("09.6", "writes into the master", "You changed the array that came in. Return a new one.", '''
def master_step(master, g, lr, rounded):
    master -= lr * g
    return master, rounded(master)
'''),
    Mutant("09.6", "does not round the weights", "The second result is what the forward pass runs with: it lies on the format's grid.", '''
def master_step(master, g, lr, rounded):
    master = master - lr * g
    return master, master.copy()
'''),
]

ALLOWED = {}
