"""Lesson 01: values and the chain rule. `pytest lessons/01_chain_rule` checks it.

Everything here is a single number. The slope of y in x is dy/dx: how far y moves for each unit that x moves.
"""
import math


def slope(f, x, h=1e-4):
    """The slope of f at x, measured: how far f moves from x − h to x + h, for each unit of that way (central difference)."""
    # <solution hint="Two calls of f, one on each side of x. How far apart are the two places?">
    return (f(x + h) - f(x - h)) / (2 * h)
    # </solution>


def partials(f, xs, h=1e-4):
    """The slope of f in each of its numbers while the others stay: a list as long as xs. f takes a list; xs stays as it is."""
    # <solution hint="For each i: two copies of xs, with entry i moved up in one and down in the other.">
    slopes = []
    for i in range(len(xs)):
        above, below = list(xs), list(xs)
        above[i] += h
        below[i] -= h
        slopes.append((f(above) - f(below)) / (2 * h))
    return slopes
    # </solution>


class Value:
    """A number that remembers what it was made of.

    data: the number · parents: pairs (value it was made of, local slope), where the local slope says how far this number
    moves for each unit that parent moves · grad: what backward() found, 0 before
    """

    def __init__(self, data, parents=()):
        self.data, self.parents, self.grad = data, list(parents), 0.0

    def __add__(self, other):
        """a + b, given as a model: if a moves by 1, so does the sum; and the same holds for b."""
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        """a·b, as a Value whose parents are a and b with their local slopes."""
        # <solution hint="Move a by 1 and leave b: how far does the product move?">
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])
        # </solution>

    def __truediv__(self, other):
        """a/b, as a Value whose parents are a and b with their local slopes."""
        # <solution hint="Write a/b as a·b⁻¹. The slope of b⁻¹ is −b⁻².">
        return Value(self.data / other.data, [(self, 1 / other.data), (other, -self.data / other.data ** 2)])
        # </solution>

    def tanh(self):
        """y = tanh x, which runs from −1 to 1, as a Value with its one parent. math.tanh knows the number."""
        # <solution hint="The slope is 1 − y²: 1 in the middle, nearly 0 where y is nearly ±1.">
        y = math.tanh(self.data)
        return Value(y, [(self, 1 - y ** 2)])
        # </solution>

    def backward(self, gy=1.0):
        """Add gy to this value's grad, and hand each parent gy times its local slope, down to the leaves.

        Called on a result with gy = 1, it leaves d result / d value in the grad of every value below.
        """
        # <solution hint="Along a path slopes multiply; where paths meet they add. A parent has a backward of its own.">
        self.grad += gy
        for parent, local in self.parents:
            parent.backward(gy * local)
        # </solution>
