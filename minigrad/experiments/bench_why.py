"""Why a target of `minigrad bench` was missed: in one sentence ours, theirs, the floor, and what lies between, as measured."""
from __future__ import annotations

from minigrad.experiments.bench_memory import keep_more

PRODUCTS = ("linear", "attention")                  # kinds of operations that are matrix products for the most part


def reasons(rows, *, profile=(), memory=(), methods=None, tokens=None) -> list[str]:
    """One sentence for each row that missed its target, in the rows' order; none for the others.

    rows: of bench.csv · profile, memory: of bench_profile.csv and bench_memory.csv, as far as they were measured ·
    methods: {(size, what): the profile of that method's step} with what "full" for our own · tokens: {what:
    bench_generation.kernels_per_token}.
    """
    texts = []
    for row in rows:
        if row["reached"] is False:
            explain = {"step": lambda r: _step(r, rows, [p for p in profile if p["size"] == r["size"]]),
                       "method": lambda r: _method(r, methods or {}),
                       "generation": lambda r: _generation(r, rows, tokens or {}),
                       "saved bytes": lambda r: _bytes(r, [m for m in memory if m["size"] == r["size"]])}.get(row["part"])
            said = explain(row) if explain else None
            texts.append(f"{headline(row)}: " + (said or "no floor of it is measured; its parts: minigrad bench --parts steps "
                                                         "products memory profile"))
    return texts


def headline(row) -> str:
    """What was missed, by how much."""
    times = "" if row["ms"] is None else f", {row['ms']:.2f} ms against {row['against_ms']:.2f}"
    return (f"{row['part']}, {row['size']}, {row['what']}: {row['ratio']:.3f} × {row['against']} (at most "
            f"{row['target']:g}){times}")


def _find(rows, **wanted):
    return next((r for r in rows if all(r.get(key) == value for key, value in wanted.items())), None)


def _step(row, rows, profile) -> str | None:
    """Operation by operation: how much longer than PyTorch's, how much of it in the library's products."""
    if not profile or profile[-1]["torch_ms"] is None:
        return None
    whole, parts = profile[-1], [p for p in profile[:-1] if p["torch_ms"] is not None]
    more = sorted(parts, key=lambda p: p["torch_ms"] - p["ms"])
    slower = ", ".join(f"{p['operation']} {p['ms'] - p['torch_ms']:+.2f} ms (× {p['ms'] / p['torch_ms']:.1f})" for p in more[:5]
                       if p["ms"] > p["torch_ms"] > 0)
    faster = sum(p["ms"] - p["torch_ms"] for p in parts if p["ms"] < p["torch_ms"])
    text = f"the sum of our floors is {whole['floor_ms']:.2f} ms"
    if products := [r for r in rows if r["part"] == "products" and r["size"] == row["size"]]:
        best = min(products, key=lambda p: p["ratio"])
        text += (f"; the products of linear layers alone are {best['ms'] - best['against_ms']:+.2f} of the "
                 f"{row['ms'] - row['against_ms']:+.2f} ms between the two steps: PyTorch {best['against_ms']:.2f} ms, "
                 + ", ".join(f"{p['what']} {p['ratio']:.2f} × that" for p in products))
    return (text + f"; of the {whole['ms'] - whole['torch_ms']:+.2f} ms between the two profiles the largest parts are {slower}"
            + f"; where we are faster it is {faster:+.2f} ms together")


def _method(row, profiles) -> str | None:
    """The products of its step beside those of the full step, and what freezing spares neither."""
    sides = [profiles.get((row["size"], what)) for what in (row["what"], "full")]
    if None in sides:
        return None
    floors = [sum(p["floor_ms"] for p in side if p["operation"] in PRODUCTS) for side in sides]
    spent = [sum(p["ms"] for p in side if p["operation"] in PRODUCTS) for side in sides]
    others = [side[-1]["ms"] - ms for side, ms in zip(sides, spent, strict=True)]
    return (f"at this machine's measured rate the products of its step take {floors[0]:.2f} ms and those of the full step "
            f"{floors[1]:.2f}, a ratio of {floors[0] / floors[1]:.2f}; in the steps they take {spent[0]:.2f} and "
            f"{spent[1]:.2f} ms, and all else, of which freezing weights spares little, {others[0]:.2f} and {others[1]:.2f}")


def _generation(row, rows, tokens) -> str | None:
    """A token here, in PyTorch, and in bare NumPy; or an early token and a late one."""
    name, count = row["what"], int(row["size"].split()[0])
    if row["against"] == "tokens":
        first, second = (ms / (count / 2) for ms in (row["against_ms"], row["ms"] - row["against_ms"]))
        return (f"a token of the first half takes {first:.2f} ms, one of the second, whose attention looks further back, "
                f"{second:.2f}")
    floor = _find(rows, part="generation floor", what=f"raw NumPy, {'base' if name == 'LoRA, merged' else name}")
    if floor is None:
        return None
    ours, theirs, least = row["ms"] / count, row["against_ms"] / count, floor["ms"] / count
    text = (f"{ours:.2f} ms a token, PyTorch {theirs:.2f}, the same arithmetic in bare NumPy {least:.2f} ({least / theirs:.2f} "
            f"× PyTorch); the {ours - least:.2f} ms between ours and that floor are Python and more calls of NumPy")
    if name in tokens:
        kernels, inside, whole = tokens[name]
        text += (f"; looked into once more, {whole:.2f} ms a token are {kernels:.0f} calls of kernels, {inside:.2f} ms inside "
                 f"of them and {whole - inside:.2f} around them")
    return text


def _bytes(row, layers) -> str | None:
    """The layers that keep more than PyTorch's."""
    more = keep_more(layers[:-1])
    return f"more than PyTorch's layers keep {more}" if more else None
