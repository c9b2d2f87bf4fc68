"""Lesson 01: values and the chain rule. `pytest lessons/01_chain_rule` checks it.

Everything here is a single number. The slope of y in x is dy/dx: how far y moves for each unit that x moves.
"""
import math


def slope(f, x, h=1e-4):
    """The slope of f at x, measured: how far f moves from x − h to x + h, for each unit of that way (central difference)."""
    # TODO 01.1: delete the next line and write slope (about 1 line).
    raise NotImplementedError("01.1 slope")


def partials(f, xs, h=1e-4):
    """The slope of f in each of its numbers while the others stay: a list as long as xs. f takes a list; xs stays as it is."""
    # TODO 01.2: delete the next line and write partials (about 7 lines).
    raise NotImplementedError("01.2 partials")


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
        # TODO 01.3: delete the next line and write Value.__mul__ (about 1 line).
        raise NotImplementedError("01.3 Value.__mul__")

    def __truediv__(self, other):
        """a/b, as a Value whose parents are a and b with their local slopes."""
        # TODO 01.4: delete the next line and write Value.__truediv__ (about 1 line).
        raise NotImplementedError("01.4 Value.__truediv__")

    def tanh(self):
        """y = tanh x, which runs from −1 to 1, as a Value with its one parent. math.tanh knows the number."""
        # TODO 01.5: delete the next line and write Value.tanh (about 2 lines).
        raise NotImplementedError("01.5 Value.tanh")

    def backward(self, gy=1.0):
        """Add gy to this value's grad, and hand each parent gy times its local slope, down to the leaves.

        Called on a result with gy = 1, it leaves d result / d value in the grad of every value below.
        """
        # TODO 01.6: delete the next line and write Value.backward (about 3 lines).
        raise NotImplementedError("01.6 Value.backward")
