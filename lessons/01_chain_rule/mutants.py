"""Wrong answers to the exercises of lesson 01, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("01.1", "looks ahead only", "You measure from x to x + h. Its error shrinks like h; from x − h to x + h it shrinks like h², "
           "because the bend of the curve cancels.", '''
def slope(f, x, h=1e-4):
    return (f(x + h) - f(x)) / h
'''),
    Mutant("01.1", "divides by h", "The two places are 2h apart, not h.", '''
def slope(f, x, h=1e-4):
    return (f(x + h) - f(x - h)) / h
'''),
    Mutant("01.1", "does not divide", "That is how far f moves. A slope is that way divided by how far x moves.", '''
def slope(f, x, h=1e-4):
    return f(x + h) - f(x - h)
'''),
    Mutant("01.1", "turns the sign", "Your sign is turned: a function that rises has a positive slope.", '''
def slope(f, x, h=1e-4):
    return (f(x - h) - f(x + h)) / (2 * h)
'''),
    Mutant("01.1", "has an h of its own", "You do not use the h that was given. (And a tiny one is no better: below about 1e-6 the rounding "
           "of f is larger than the difference.)", '''
def slope(f, x, h=1e-4):
    h = 1e-5
    return (f(x + h) - f(x - h)) / (2 * h)
'''),
    Mutant("01.2", "moves all at once", "You moved every number together. That is the sum of all slopes; a partial slope moves one and "
           "leaves the others.", '''
def partials(f, xs, h=1e-4):
    return [(f([x + h for x in xs]) - f([x - h for x in xs])) / (2 * h) for _ in xs]
'''),
    Mutant("01.2", "leaves the numbers moved", "After entry i was measured it stays moved, so the next slopes are taken at another place. "
           "Start from xs each time.", '''
def partials(f, xs, h=1e-4):
    above, below, slopes = list(xs), list(xs), []
    for i in range(len(xs)):
        above[i] += h
        below[i] -= h
        slopes.append((f(above) - f(below)) / (2 * h))
    return slopes
'''),
    Mutant("01.2", "writes into xs", "You moved the caller's own list and did not put it back.", '''
def partials(f, xs, h=1e-4):
    slopes = []
    for i in range(len(xs)):
        xs[i] += h
        above = f(xs)
        xs[i] -= 2 * h
        slopes.append((above - f(xs)) / (2 * h))
    return slopes
'''),
    Mutant("01.2", "looks ahead only", "You measure from x to x + h; measure from x − h to x + h, whose error is far smaller.", '''
def partials(f, xs, h=1e-4):
    return [(f([x + h * (i == j) for j, x in enumerate(xs)]) - f(xs)) / h for i in range(len(xs))]
'''),
    Mutant("01.2", "adds them up", "That is one number, the sum. Each entry of xs has a slope of its own.", '''
def partials(f, xs, h=1e-4):
    return sum((f([x + h * (i == j) for j, x in enumerate(xs)]) - f([x - h * (i == j) for j, x in enumerate(xs)])) / (2 * h)
               for i in range(len(xs)))
'''),
    Mutant("01.2", "looks a number up by its value", "xs.index(x) finds the first number with this value. Where two are equal, "
           "the first is moved twice and the second never. Count the places.", '''
def partials(f, xs, h=1e-4):
    out = []
    for x in xs:
        i, up, down = xs.index(x), list(xs), list(xs)
        up[i], down[i] = x + h, x - h
        out.append((f(up) - f(down)) / (2 * h))
    return out
'''),
    Mutant("01.3", "swaps the slopes", "The local slopes are exchanged: if a moves by 1, the product moves by b.", '''
class Value:
    def __mul__(self, other):
        return Value(self.data * other.data, [(self, self.data), (other, other.data)])
'''),
    Mutant("01.3", "takes the slopes of a sum", "Slopes of 1 belong to a sum. A product moves by b when a moves by 1.", '''
class Value:
    def __mul__(self, other):
        return Value(self.data * other.data, [(self, 1.0), (other, 1.0)])
'''),
    Mutant("01.3", "multiplies the slopes", "You differentiated both factors at once. The slope of a product in a is b: (ab)′ is a′b + ab′, "
           "and each local slope is one of the two terms.", '''
class Value:
    def __mul__(self, other):
        return Value(self.data * other.data, [(self, self.data * other.data), (other, self.data * other.data)])
'''),
    Mutant("01.3", "forgets one factor", "b is a parent too; without it no gradient ever reaches it.", '''
class Value:
    def __mul__(self, other):
        return Value(self.data * other.data, [(self, other.data)])
'''),
    Mutant("01.3", "remembers nothing", "The number is right, but it has forgotten what it was made of: parents are missing.", '''
class Value:
    def __mul__(self, other):
        return Value(self.data * other.data)
'''),
    Mutant("01.3", "fills grad at once", "You wrote into grad while computing the value. How much a counts depends on everything that comes "
           "after; only backward() knows.", '''
class Value:
    def __mul__(self, other):
        self.grad, other.grad = other.data, self.data
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])
'''),
    Mutant("01.4", "loses the minus", "A larger b makes a/b smaller: the slope in b has a minus.", '''
class Value:
    def __truediv__(self, other):
        return Value(self.data / other.data, [(self, 1 / other.data), (other, self.data / other.data ** 2)])
'''),
    Mutant("01.4", "forgets the square", "The slope of 1/b is −1/b², not −1/b.", '''
class Value:
    def __truediv__(self, other):
        return Value(self.data / other.data, [(self, 1 / other.data), (other, -self.data / other.data)])
'''),
    Mutant("01.4", "forgets a in the slope of b", "The slope in b is −a/b²; your a is missing.", '''
class Value:
    def __truediv__(self, other):
        return Value(self.data / other.data, [(self, 1 / other.data), (other, -1 / other.data ** 2)])
'''),
    Mutant("01.4", "takes the slope of a product in a", "If a moves by 1, a/b moves by 1/b; you took b.", '''
class Value:
    def __truediv__(self, other):
        return Value(self.data / other.data, [(self, other.data), (other, -self.data / other.data ** 2)])
'''),
    Mutant("01.4", "treats b as a constant", "b is a Value that may be learned, so it is a parent too.", '''
class Value:
    def __truediv__(self, other):
        return Value(self.data / other.data, [(self, 1 / other.data)])
'''),
    Mutant("01.5", "squares x instead of y", "The slope is 1 − y² with y = tanh x; you took 1 − x².", '''
class Value:
    def tanh(self):
        return Value(math.tanh(self.data), [(self, 1 - self.data ** 2)])
'''),
    Mutant("01.5", "forgets the square", "1 − y is not the slope: at y = −1 it would be 2, where tanh is flat.", '''
class Value:
    def tanh(self):
        y = math.tanh(self.data)
        return Value(y, [(self, 1 - y)])
'''),
    Mutant("01.5", "takes the slope of the logistic curve", "y·(1 − y) belongs to 1/(1 + e⁻ˣ), which runs from 0 to 1.", '''
class Value:
    def tanh(self):
        y = math.tanh(self.data)
        return Value(y, [(self, y * (1 - y))])
'''),
    Mutant("01.5", "is linear backward", "A slope of 1 is right at x = 0 only; far out tanh is flat.", '''
class Value:
    def tanh(self):
        return Value(math.tanh(self.data), [(self, 1.0)])
'''),
    Mutant("01.5", "overflows", "e⁸⁰⁰ is larger than any floating-point number. math.tanh does without it.", '''
class Value:
    def tanh(self):
        up, down = math.exp(self.data), math.exp(-self.data)
        y = (up - down) / (up + down)
        return Value(y, [(self, 1 - y ** 2)])
'''),
    Mutant("01.6", "overwrites instead of adding", "You set grad. A value that is used twice is reached twice, and its grad is the sum; the "
           "first part was overwritten.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad = gy
        for parent, local in self.parents:
            parent.backward(gy * local)
'''),
    Mutant("01.6", "forgets what comes from above", "You hand down the local slope alone. Along a path slopes multiply: gy times the local "
           "slope.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in self.parents:
            parent.backward(local)
'''),
    Mutant("01.6", "adds along the path", "Along a path slopes multiply; you added them.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in self.parents:
            parent.backward(gy + local)
'''),
    Mutant("01.6", "hands down all of grad", "You hand down grad, which holds earlier arrivals too, so they are counted twice. This visit "
           "brought gy, and gy is what goes on.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in self.parents:
            parent.backward(self.grad * local)
'''),
    Mutant("01.6", "stops after one step", "You reach the parents but not their parents. Call backward on each parent.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in self.parents:
            parent.grad += gy * local
'''),
    Mutant("01.6", "always starts from one", "gy was ignored. It is 1 only at the last result; every value below gets something else.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += 1.0
        for parent, local in self.parents:
            parent.backward(local)
'''),
    Mutant("01.6", "throws equal pairs together", "Two pairs that are equal are still two paths: x + x has (x, 1) twice, and its "
           "slope is 2. A set or a dictionary of the parents keeps one.", '''
class Value:
    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in set(self.parents):
            parent.backward(gy * local)
'''),
]
