"""Write down CuPy's public names and signatures, which the strict backend then holds the engine to.

    pip install cupy-cuda12x            # importing it needs no GPU
    python -m tests.strict.record_cupy  # writes cupy_api.json beside this file
"""
from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

OUT = Path(__file__).with_name("cupy_api.json")


def plain(signature: str) -> str | None:
    """A signature without annotations, types and the defaults' values: "(a, axis=None, *, out=None)"."""
    body = re.sub(r"->.*$", "", signature).strip()
    try:
        parsed = inspect.signature(_compiled(body))
    except SyntaxError:                             # Cython's: C types before the names
        body = re.sub(r"\b(?:[\w.]+ )+(\w+)(?=[,=)\s])", r"\1", body)
        try:
            parsed = inspect.signature(_compiled(body))
        except SyntaxError:
            return None
    parameters = [p.replace(annotation=p.empty, default=None if p.default is not p.empty else p.empty)
                  for p in parsed.parameters.values() if p.name != "self"]
    return str(parsed.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def _compiled(signature: str):
    namespace: dict = {}
    exec(f"from __future__ import annotations\ndef f{signature}: ...", namespace)   # of an installed package's docstring
    return namespace["f"]


def described(thing) -> str | None:
    """The signature of a function, from Python or from the first line of Cython's docstring; None if it tells none."""
    try:
        return plain(re.sub(r"<[^>]*>", "None", str(inspect.signature(thing))))
    except (TypeError, ValueError):
        line = (thing.__doc__ or "").partition("\n")[0]
        found = re.search(r"\(.*\)", line)
        return plain(found.group()) if found else None


def record() -> dict:
    """Everything public of cupy and of its arrays."""
    import cupy
    import numpy

    functions, ufuncs, constants = {}, {}, []
    for name in sorted(n for n in dir(cupy) if not n.startswith("_")):
        thing = getattr(cupy, name)
        if isinstance(thing, cupy.ufunc):
            ufuncs[name] = {"inputs": thing.nin, "outputs": thing.nout,
                            "types": [t for t in thing.types if not set(t) & set("EFDO")]}
        elif type(thing).__name__ == "_GUFunc":     # matmul
            functions[name] = described(thing.__call__)
        elif inspect.isfunction(thing) or inspect.isbuiltin(thing) or type(thing).__name__ == "cython_function_or_method":
            functions[name] = described(thing)
        elif not inspect.ismodule(thing):
            constants.append(name)
    methods, properties = {}, []
    for name in sorted(n for n in dir(cupy.ndarray) if not n.startswith("_")):
        thing = getattr(cupy.ndarray, name)
        if callable(thing):
            methods[name] = described(thing)
        else:
            properties.append(name)
    private = {}
    try:                                            # needs libcublas (pip install nvidia-cublas-cu12), but no GPU
        from cupy_backends.cuda.libs import cublas

        private["cublas.gemmStridedBatchedEx"] = described(cublas.gemmStridedBatchedEx)
    except ImportError as error:
        print(f"without cuBLAS: {error}")
    return {"cupy": cupy.__version__, "numpy": numpy.__version__, "private": private, "ufunc_keywords": ["casting", "dtype", "out"],
            "functions": functions, "ufuncs": ufuncs, "constants": constants, "methods": methods, "properties": properties,
            "only_in_numpy": sorted(n for n in dir(numpy) if not n.startswith("_") and not hasattr(cupy, n))}


def compact(api: dict) -> str:
    """JSON with one name to a line, so that a new version's changes can be read in a diff."""
    sections = []
    for key, value in api.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            sections.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            sections.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    OUT.write_text(compact(record()), encoding="utf-8")
    print(f"wrote {OUT}")
