"""Every public thing of the room has an example, and every example runs."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from minigrad import tasks

MODULES = ["minigrad.tasks"] + [f"minigrad.tasks.{module.name}" for module in pkgutil.iter_modules(tasks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def public_things():
    for name in MODULES[1:]:
        module = importlib.import_module(name)
        for thing in vars(module).values():
            if getattr(thing, "__module__", None) != name or thing.__name__.startswith("_"):
                continue
            yield f"{name}.{thing.__qualname__}", thing
            if inspect.isclass(thing):
                for key, member in vars(thing).items():
                    member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                    if inspect.isfunction(member) and not key.startswith("_"):
                        yield f"{name}.{member.__qualname__}", member


def test_every_public_thing_has_an_example():
    things = dict(public_things())
    assert len(things) > 40
    assert [name for name, thing in things.items() if ">>>" not in (thing.__doc__ or "")] == []
