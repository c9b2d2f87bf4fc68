"""The fused kernels are called as the base class's are, and have a way out for what they cannot take. Needs no GPU."""
import ast
import inspect
import textwrap

import pytest

from minigrad.backend import Backend
from minigrad.backend.cupy_backend import CupyBackend
from minigrad.backend.fused import FusedBackend
from tests.backend.cpu_kernels import CpuKernelBackend

OVERRIDES = [(cls, name, f) for cls in (FusedBackend, CupyBackend) for name, f in vars(cls).items()
             if inspect.isfunction(f) and not name.startswith("_")]


@pytest.mark.parametrize("cls", [FusedBackend, CpuKernelBackend])
def test_same_signatures_as_the_base(cls):
    for name, base in inspect.getmembers(Backend, inspect.isfunction):
        ours, theirs = ([(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
                        for f in (getattr(cls, name), base))
        assert name == "__init__" or ours == theirs, f"{cls.__name__}.{name}"


@pytest.mark.parametrize("cls,name,f", OVERRIDES, ids=lambda x: getattr(x, "__name__", x))
def test_an_override_has_a_docstring_and_uses_every_argument(cls, name, f):
    """An option that an override ignores has the right signature and gives the wrong answer."""
    assert f.__doc__
    tree = ast.parse(textwrap.dedent(inspect.getsource(f)))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(inspect.signature(f).parameters) <= used | {"self"}


@pytest.mark.parametrize("name", [name for cls, name, f in OVERRIDES if cls is FusedBackend])
def test_a_fused_method_returns_what_its_fallback_gives(name):
    """`super().f(…)` without return is None, and only for the types that no kernel takes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(FusedBackend, name))))
    assert "super()" in ast.unparse(tree) or name == "linear"
    dropped = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and "super()" in ast.unparse(node)]
    assert not dropped or name == "adam_step"       # which gives nothing back
