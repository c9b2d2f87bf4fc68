"""Wrong answers to the exercises of lesson 05, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("05.1", "climbs", "You step along the gradient. It points uphill; the loss falls the other way.", '''
def sgd(p, g, lr, weight_decay=0.0):
    return p + lr * (g + weight_decay * p)
'''),
    Mutant("05.1", "forgets the decay", "weight_decay is not used. The penalty's gradient, weight_decay·p, belongs to g.", '''
def sgd(p, g, lr, weight_decay=0.0):
    return p - lr * g
'''),
    Mutant("05.1", "decays without the learning rate", "The decay is part of the gradient, so the learning rate scales it as well.", '''
def sgd(p, g, lr, weight_decay=0.0):
    return p - lr * g - weight_decay * p
'''),
    Mutant("05.1", "lets weights grow", "The sign of the decay is wrong: this one drives weights away from zero.", '''
def sgd(p, g, lr, weight_decay=0.0):
    return p - lr * (g - weight_decay * p)
'''),
    Mutant("05.1", "doubles the decay", "The penalty is ½·λ·Σp²; its gradient is λp, without a 2.", '''
def sgd(p, g, lr, weight_decay=0.0):
    return p - lr * (g + 2 * weight_decay * p)
'''),
    Mutant("05.1", "writes into p", "You changed p itself. Return a new array; whoever else holds p does not expect it to move.", '''
def sgd(p, g, lr, weight_decay=0.0):
    p -= lr * (g + weight_decay * p)
    return p
'''),
    Mutant("05.2", "takes a mean", "You weight the new gradient with 1 − mu. That is Adam's running mean; PyTorch's momentum adds the whole gradient.", '''
def momentum(p, g, b, lr, mu):
    b = mu * b + (1 - mu) * g
    return p - lr * b, b
'''),
    Mutant("05.2", "steps with the old buffer", "You step with the buffer from before this gradient; it lags one step behind.", '''
def momentum(p, g, b, lr, mu):
    return p - lr * b, mu * b + g
'''),
    Mutant("05.2", "never forgets", "The old buffer has to be multiplied by mu. Yours only grows.", '''
def momentum(p, g, b, lr, mu):
    b = b + g
    return p - lr * b, b
'''),
    Mutant("05.2", "ignores the buffer", "Your step uses the gradient alone, as if there were no momentum.", '''
def momentum(p, g, b, lr, mu):
    return p - lr * g, mu * b + g
'''),
    Mutant("05.2", "looks ahead", "You step with g + mu·b, which is Nesterov's variant. Here the step is the buffer itself.", '''
def momentum(p, g, b, lr, mu):
    b = mu * b + g
    return p - lr * (g + mu * b), b
'''),
    Mutant("05.2", "writes into the buffer", "You changed the buffer that you were given. Return a new array.", '''
def momentum(p, g, b, lr, mu):
    b *= mu
    b += g
    return p - lr * b, b
'''),
    Mutant("05.3", "forgets the bias correction", "m and v start at zero and are too small at first. Without m̂ and v̂ the first step is "
           "(1 − beta1)/√(1 − beta2) times too long: 3.2 times with the usual values.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    return p - lr * m / (np.sqrt(v) + eps), m, v
'''),
    Mutant("05.3", "puts eps inside the root", "You take √(v̂ + eps), as a course slide does. Then 1e-8 acts like 1e-4: small gradients get far too "
           "short a step. Adam adds eps after the root.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    return p - lr * m / (1 - beta1 ** t) / np.sqrt(v / (1 - beta2 ** t) + eps), m, v
'''),
    Mutant("05.3", "forgets the root", "v is a mean of squares; its root has the size of a gradient. Without it the step depends on that size.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    return p - lr * m / (1 - beta1 ** t) / (v / (1 - beta2 ** t) + eps), m, v
'''),
    Mutant("05.3", "does not square", "v is the running mean of g², not of g. A mean of g can be zero or negative.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g
    return p - lr * m / (1 - beta1 ** t) / (np.sqrt(v / (1 - beta2 ** t)) + eps), m, v
'''),
    Mutant("05.3", "swaps the betas", "beta1 belongs to m, beta2 to v: the mean of squares looks back further.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta2 * m + (1 - beta2) * g
    v = beta1 * v + (1 - beta1) * g ** 2
    return p - lr * m / (1 - beta2 ** t) / (np.sqrt(v / (1 - beta1 ** t)) + eps), m, v
'''),
    Mutant("05.3", "keeps the corrected means", "You returned m̂ and v̂. Next time they would be corrected again; return m and v.", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = (beta1 * m + (1 - beta1) * g) / (1 - beta1 ** t)
    v = (beta2 * v + (1 - beta2) * g ** 2) / (1 - beta2 ** t)
    return p - lr * m / (np.sqrt(v) + eps), m, v
'''),
    Mutant("05.3", "counts from zero", "t counts from 1, so the first step divides by 1 − beta. You used t − 1 (or t + 1).", '''
def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    return p - lr * m / (1 - beta1 ** (t + 1)) / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps), m, v
'''),
    Mutant("05.4", "adds the decay to the gradient", "You added weight_decay·p to g: that is an L2 penalty, Adam's way. It passes through m and v, "
           "so weights with large gradients are hardly decayed. AdamW shrinks p itself.", '''
def adamw(adam, p, g, m, v, t, lr, weight_decay):
    return adam(p, g + weight_decay * p, m, v, t, lr)
'''),
    Mutant("05.4", "forgets the learning rate", "The factor is 1 − lr·weight_decay. Without lr the weights would shrink far too fast.", '''
def adamw(adam, p, g, m, v, t, lr, weight_decay):
    return adam(p * (1 - weight_decay), g, m, v, t, lr)
'''),
    Mutant("05.4", "decays what adam returns", "You shrank the result, and with it the step that Adam just took. The decay comes first, and only on the old p.", '''
def adamw(adam, p, g, m, v, t, lr, weight_decay):
    p, m, v = adam(p, g, m, v, t, lr)
    return p * (1 - lr * weight_decay), m, v
'''),
    Mutant("05.4", "does not decay", "That is plain Adam: weight_decay is not used.", '''
def adamw(adam, p, g, m, v, t, lr, weight_decay):
    return adam(p, g, m, v, t, lr)
'''),
    Mutant("05.4", "lets weights grow", "1 + lr·weight_decay makes every weight larger. Decay is 1 − lr·weight_decay.", '''
def adamw(adam, p, g, m, v, t, lr, weight_decay):
    return adam(p * (1 + lr * weight_decay), g, m, v, t, lr)
'''),
    Mutant("05.5", "clips each by itself", "You shortened each array by its own length. That turns the direction of the whole gradient; one common factor does not.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    return [g * min(1.0, max_norm / (np.sqrt((g ** 2).sum()) + 1e-6)) for g in grads], norm
'''),
    Mutant("05.5", "clips entries", "You cut every entry to ±max_norm. That is another method (clipping by value), and it turns the direction.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    return [np.clip(g, -max_norm, max_norm) for g in grads], norm
'''),
    Mutant("05.5", "always scales", "A gradient shorter than max_norm has to stay as it is; you made it longer.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    return [g * max_norm / (norm + 1e-6) for g in grads], norm
'''),
    Mutant("05.5", "adds the lengths", "The length of the whole is √(Σ all squares). You added the arrays' own lengths, which is more.", '''
def clip(grads, max_norm):
    norm = sum(np.sqrt((g ** 2).sum()) for g in grads)
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in grads], norm
'''),
    Mutant("05.5", "reports the length after", "Return the length before clipping. It is what one logs: afterwards it says nothing new.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in grads], norm * scale
'''),
    Mutant("05.5", "writes into the gradients", "You changed the arrays that you were given. Return new ones: a gradient's array may be shared.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    scale = min(1.0, max_norm / (norm + 1e-6))
    for g in grads:
        g *= scale
    return grads, norm
'''),
    Mutant("05.5", "hands back the same arrays", "Where nothing has to be shortened you return the caller's own arrays. Whoever "
           "writes into the result then changes the gradients.", '''
def clip(grads, max_norm):
    norm = np.sqrt(sum((g * g).sum() for g in grads))
    return ([g for g in grads] if norm <= max_norm else [g * (max_norm / (norm + 1e-6)) for g in grads]), norm
'''),
    Mutant("05.6", "starts at zero", "Your step 0 has learning rate 0, so it is wasted. It should get peak/warmup.", '''
def schedule(step, total, warmup, peak):
    if step < warmup:
        return peak * step / warmup
    return peak * (1 + np.cos(np.pi * min(1.0, (step - warmup) / (total - warmup)))) / 2
'''),
    Mutant("05.6", "comes back", "From step `total` on the rate must stay 0; your cosine rises again.", '''
def schedule(step, total, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + np.cos(np.pi * (step - warmup) / (total - warmup))) / 2
'''),
    Mutant("05.6", "counts the warm-up twice", "The cosine begins when the warm-up ends: measure from `warmup`, not from 0. Yours jumps down there.", '''
def schedule(step, total, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + np.cos(np.pi * min(1.0, step / total))) / 2
'''),
    Mutant("05.6", "falls along a line", "You go down along a straight line. Half a cosine begins and ends flat.", '''
def schedule(step, total, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - min(1.0, (step - warmup) / (total - warmup)))
'''),
    Mutant("05.6", "takes a whole cosine", "2π is a whole wave: down and up again. Half a wave is π.", '''
def schedule(step, total, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + np.cos(2 * np.pi * min(1.0, (step - warmup) / (total - warmup)))) / 2
'''),
    Mutant("05.6", "skips the warm-up", "There is no warm-up: the first steps, when m and v are still noise, get the full rate.", '''
def schedule(step, total, warmup, peak):
    return peak * (1 + np.cos(np.pi * min(1.0, max(0, step - warmup) / (total - warmup)))) / 2
'''),
    Mutant("05.6", "divides by a warm-up of zero", "warmup may be 0: no warm-up. Then there is nothing to divide by; ask for "
           "step < warmup first.", '''
def schedule(step, total, warmup, peak):
    rise = (step + 1) / warmup
    if step < warmup:
        return peak * rise
    return peak * 0.5 * (1 + np.cos(np.pi * min(1.0, (step - warmup) / (total - warmup))))
'''),
]
