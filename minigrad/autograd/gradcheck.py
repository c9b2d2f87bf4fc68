"""gradcheck: does backward() agree with finite differences? And if not, where, and why probably?"""
from __future__ import annotations

from minigrad.autograd.state import no_grad
from minigrad.autograd.tensor import Tensor, tensor
from minigrad.backend import host


class GradcheckError(AssertionError):
    """A gradient disagrees with finite differences; the message says which, where and the likely cause."""


def gradcheck(fn, inputs, *, eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-4, seed: int = 0) -> bool:
    """Compare the gradients of `fn(*inputs)` with central differences (f(x+ε) − f(x−ε)) / 2ε, in float64.

    fn: takes tensors, returns a tensor of any shape (a random weighting makes it a scalar, so that errors cannot
    cancel) · inputs: tensors, arrays or numbers; floating ones are copied to float64 and checked element by element,
    except tensors among them made with requires_grad=False when others require gradients.
    Returns True, or raises GradcheckError. fn must be deterministic and smooth near the inputs.

    >>> import minigrad as mg
    >>> mg.gradcheck(lambda x: x.exp().sum(), [mg.tensor([0.5, -1.0])])
    True
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    some_require = any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    xs = [_prepared(x, some_require) for x in inputs]
    if not any(x.requires_grad for x in xs if isinstance(x, Tensor)):
        raise ValueError("gradcheck: none of the inputs is a floating-point tensor, so there is no gradient to check")

    y = fn(*xs)
    if not isinstance(y, Tensor) or not y.requires_grad:
        raise GradcheckError(f"gradcheck: {_name(fn)} returned {type(y).__name__}"
                             f"{' without a graph' if isinstance(y, Tensor) else ''}; the result must be a tensor "
                             "computed from the inputs by minigrad operations")
    if y.dtype.name != "float64":
        raise GradcheckError(f"gradcheck: {_name(fn)} returned {y.dtype} from float64 inputs; some step loses precision")
    op = y._fn.name
    cotangent = host.np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(y.backend.send(cotangent))

    for i, x in enumerate(xs):
        if isinstance(x, Tensor) and x.requires_grad:
            expected = _finite_differences(fn, xs, i, cotangent, eps)
            got = host.np.zeros(x.shape) if x.grad is None else x.backend.to_numpy(x.grad)
            _compare(expected, got, f"{_name(fn)} (last operation: {op})", i, y.shape, atol, rtol)
    return True


def _prepared(x, some_require: bool):
    if not isinstance(x, Tensor):
        x = tensor(x)
    if not host.is_floating(x.dtype):
        return x
    copy = tensor(x.detach().numpy(), dtype="float64")
    return copy.requires_grad_(x.requires_grad or not some_require)


def _finite_differences(fn, xs, i, cotangent, eps):
    """d ⟨cotangent, fn(xs)⟩ / d xs[i], one element at a time."""
    np, be = host.np, xs[i].backend
    point = xs[i].detach().numpy()
    slope = np.zeros(point.shape)
    others = [x.detach() if isinstance(x, Tensor) else x for x in xs]
    with no_grad():
        for place in np.ndindex(*point.shape):
            sides = []
            for step in (eps, -eps):
                moved = point.copy()
                moved[place] += step
                y = fn(*others[:i], Tensor(be.send(moved)), *others[i + 1:])
                sides.append((y.numpy() * cotangent).sum())
            slope[place] = (sides[0] - sides[1]) / (2 * eps)
    return slope


def _compare(expected, got, op, i, out_shape, atol, rtol) -> None:
    np = host.np
    wrong = ~np.isclose(got, expected, atol=atol, rtol=rtol)
    if not wrong.any():
        return
    error = np.where(wrong, np.abs(got - expected), -1.0)
    place = tuple(int(j) for j in np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape))
    raise GradcheckError(
        f"gradcheck of {op}: the gradient of input {i} (shape {tuple(got.shape)}) is wrong at {int(wrong.sum())} of "
        f"{wrong.size} places; worst at index {place}: expected {expected[place]:.6g} by finite differences, got "
        f"{got[place]:.6g}. Likely cause: {_likely_cause(expected, got, out_shape, atol, rtol)}.")


def _likely_cause(expected, got, out_shape, atol, rtol) -> str:
    """The commonest mistakes, recognized by what they do to the numbers."""
    np = host.np
    if not np.isfinite(got).all():
        return "the gradient is not finite here (a division by zero, or the log or root of something not positive)"
    if not got.any():
        return "no gradient reaches this input (it was detached, or backward returns zeros for it)"
    if got.ndim == 2 and got.shape[0] > 1 and got.shape[1] > 1:
        if np.allclose(got.reshape(got.shape[::-1]).T, expected, atol=atol, rtol=rtol):
            return "it looks transposed"
    big = np.abs(expected) > 1e-3 * np.abs(expected).max()
    ratios = got[big] / expected[big]
    if ratios.size > 1 or got.size == 1:
        factor = float(np.median(ratios))
        if factor and np.allclose(got, factor * expected, atol=atol * abs(factor), rtol=10 * rtol):
            if np.isclose(factor, -1.0, rtol=1e-3):
                return "the sign is flipped"
            return f"it is off by a factor of {factor:.4g} (1/{1 / factor:.4g})"
    if tuple(got.shape) != tuple(out_shape) and got.size < np.prod(out_shape, dtype=int):
        return (f"this input is broadcast to {tuple(out_shape)}; a missing un-broadcast: its gradient must be summed "
                "over the axes along which it was repeated")
    if got.size > 1 and np.isclose(got, expected, atol=atol, rtol=rtol).mean() > 0.5:
        return "most places are right: look at a branch, a mask, ties, or repeated indices"
    return "the formula of backward()"


def _name(fn) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    return "the function" if name == "<lambda>" else name
