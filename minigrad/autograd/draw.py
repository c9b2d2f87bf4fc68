"""The computation graph as a picture: SVG text made here, without external programs."""
from __future__ import annotations

import os
import pathlib
from html import escape

from minigrad.autograd.backward import _reachable
from minigrad.autograd.tensor import Tensor

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 40, 24, 34, 20
STYLE = {"op": ("#ffffff", "#444444", 8), "leaf": ("#cfe8f7", "#0072b2", 2), "result": ("#fde3c8", "#d55e00", 8)}


def draw_graph(result: Tensor, path=None, names: dict | None = None) -> str:
    """Draw the recorded graph under `result`, inputs on top, and return it as SVG text (also written to `path`).

    Boxes: blue square ones are leaves (tensors that want a gradient), round ones operations, the orange one the
    result. Each shows its output's shape. What needs no gradient is not part of the graph. names: {tensor: label}.

    >>> import minigrad as mg
    >>> x = mg.ones(3).requires_grad_()
    >>> mg.draw_graph((x * x).sum(), names={x: "x"}).count("<rect")
    4
    """
    labels = names or {}
    start = result if result._fn is None else result._fn
    functions, uses = _reachable(start)
    nodes = [node for node in uses if isinstance(node, Tensor)] + functions[::-1]
    rank = {}                                       # how many operations lie above: the row in the picture
    for node in nodes:
        rank[node] = 0 if isinstance(node, Tensor) else 1 + max(rank[e] for e in node.edges if e is not None)
    for node in nodes[:]:                           # pull each leaf down to just above its first use
        if isinstance(node, Tensor) and node is not start:
            rank[node] = min(rank[fn] for fn in functions if any(e is node for e in fn.edges)) - 1
    rows = [[node for node in nodes if rank[node] == r] for r in range(max(rank.values()) + 1)]
    place = _place(rows)

    width = max(x for x, _ in place.values()) + WIDTH + MARGIN
    height = max(y for _, y in place.values()) + HEIGHT + MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
             f'height="{height:.0f}" font-family="sans-serif" font-size="12" role="img">',
             f"<title>Computation graph with {len(functions)} operations</title>",
             '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
             'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>',
             f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>']
    for fn in functions:
        for edge in fn.edges:
            if edge is not None:
                (x0, y0), (x1, y1) = place[edge], place[fn]
                x0, y0, x1 = x0 + WIDTH / 2, y0 + HEIGHT, x1 + WIDTH / 2
                bend = (y1 - y0) / 2
                parts.append(f'<path d="M{x0:.1f},{y0:.1f} C{x0:.1f},{y0 + bend:.1f} {x1:.1f},{y1 - bend:.1f} '
                             f'{x1:.1f},{y1:.1f}" fill="none" stroke="#666" marker-end="url(#arrow)"/>')
    for node in nodes:
        parts += _box(node, *place[node], labels, node is start)
    svg = "\n".join([*parts, "</svg>\n"])
    if path is not None:
        target = pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".part")
        temporary.write_text(svg)
        os.replace(temporary, target)
    return svg


def _place(rows) -> dict:
    """Top-left corners: rows centered, each node near the mean of what feeds it."""
    widest = max(len(row) for row in rows)
    full = widest * (WIDTH + GAP_X) - GAP_X
    place = {}
    for r, row in enumerate(rows):
        if r:
            def pull(node):
                above = [place[e][0] for e in getattr(node, "edges", ()) if e is not None and e in place]
                return sum(above) / len(above) if above else full
            row = sorted(row, key=pull)
        left = MARGIN + (full - (len(row) * (WIDTH + GAP_X) - GAP_X)) / 2
        for c, node in enumerate(row):
            place[node] = (left + c * (WIDTH + GAP_X), MARGIN + r * (HEIGHT + GAP_Y))
    return place


def _box(node, x, y, labels, is_result: bool) -> list[str]:
    leaf = isinstance(node, Tensor)
    fill, stroke, radius = STYLE["result" if is_result else "leaf" if leaf else "op"]
    title = labels.get(node, "leaf") if leaf else node.name
    shape = tuple(node.shape) if leaf else tuple(node.out_shape)
    size = "scalar" if shape == () else " × ".join(str(n) for n in shape)
    return [f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="{radius}" fill="{fill}" '
            f'stroke="{stroke}"/>',
            f'<text x="{x + WIDTH / 2:.1f}" y="{y + 17:.1f}" text-anchor="middle">{escape(str(title))}</text>',
            f'<text x="{x + WIDTH / 2:.1f}" y="{y + 32:.1f}" text-anchor="middle" fill="#555" font-size="10">'
            f"{escape(size)}</text>"]
