"""A computation graph as a picture: boxes at places that the notebook chooses, arrows from inputs to results."""
from __future__ import annotations

# the colors and corners of mg.draw_graph: blue square boxes are leaves, white round ones results, orange the last one
KINDS = {"leaf": ("#cfe8f7", "#0072B2", "square,pad=0.5"), "op": ("#ffffff", "#444444", "round,pad=0.5"),
         "result": ("#fde3c8", "#D55E00", "round,pad=0.5")}


def draw(ax, nodes: dict, edges, size: float = 10) -> None:
    """Draw a graph on ax.

    nodes: {name: (x, y, text, "leaf" | "op" | "result")} · edges: (from, to) or (from, to, label) or (from, to, label, bend),
    where a bend of ±0.3 tells two arrows between the same boxes apart.
    """
    boxes = {}
    for name, (x, y, text, kind) in nodes.items():
        fill, stroke, shape = KINDS[kind]
        boxes[name] = ax.text(x, y, text, ha="center", va="center", size=size, zorder=3, linespacing=1.4,
                              bbox={"boxstyle": shape, "facecolor": fill, "edgecolor": stroke, "linewidth": 1.3})
    xs, ys = [n[0] for n in nodes.values()], [n[1] for n in nodes.values()]
    ax.set(xlim=(min(xs) - 0.6, max(xs) + 0.6), ylim=(min(ys) - 0.5, max(ys) + 0.5))
    ax.axis("off")
    for source, target, *rest in edges:
        label, bend = [*rest, "", 0.0][0] if rest else "", rest[1] if len(rest) > 1 else 0.0
        (x0, y0), (x1, y1) = nodes[source][:2], nodes[target][:2]
        # above the boxes, so that these are drawn first: an arrow ends where a box does, and that is known then
        ax.annotate("", (x1, y1), (x0, y0), zorder=4, arrowprops={
            "arrowstyle": "-|>", "color": "#666666", "linewidth": 1.3, "connectionstyle": f"arc3,rad={bend}", "shrinkA": 2,
            "shrinkB": 2, "patchA": boxes[source].get_bbox_patch(), "patchB": boxes[target].get_bbox_patch()})
        if label:
            middle = ((x0 + x1) / 2 + bend * (y1 - y0) / 2, (y0 + y1) / 2 - bend * (x1 - x0) / 2)
            ax.text(*middle, label, size=size - 1, ha="center", va="center", color="#7A3000", zorder=5,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"})
