"""The picture of a graph: well-formed SVG with a box for each node."""
from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import minigrad as mg

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg):
    """(title, size) of each box, and the number of arrows."""
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    texts = [t.text for t in root.iter(f"{SVG}text")]
    rects = [r for r in root.iter(f"{SVG}rect") if "rx" in r.attrib]
    assert len(texts) == 2 * len(rects)
    return list(zip(texts[::2], texts[1::2], strict=True)), sum("marker-end" in p.attrib for p in root.iter(f"{SVG}path"))


def test_a_box_for_each_node_and_an_arrow_for_each_use(backend):
    x, w = mg.ones(2, 3, requires_grad=True), mg.ones(3, 4, requires_grad=True)
    h = x @ w
    y = (h * h + 1.0).sum()
    found, arrows = boxes(mg.draw_graph(y, names={x: "x", w: "w"}))
    assert sorted(found) == sorted([("x", "2 × 3"), ("w", "3 × 4"), ("matmul", "2 × 4"), ("mul", "2 × 4"), ("add", "2 × 4"),
                                    ("sum", "scalar")])
    assert arrows == 2 + 2 + 1 + 1


def test_frozen_inputs_are_not_part_of_it(backend):
    x, frozen = mg.ones(2, requires_grad=True), mg.ones(2)
    found, arrows = boxes(mg.draw_graph(x * (frozen + 1.0)))
    assert [title for title, _ in found] == ["leaf", "mul"] and arrows == 1


def test_names_are_escaped(backend):
    x = mg.ones(2, requires_grad=True)
    found, _ = boxes(mg.draw_graph(x * x, names={x: "<W & \"b\">"}))
    assert found[0][0] == "<W & \"b\">"


def test_boxes_do_not_overlap_and_inputs_lie_above(backend):
    x = [mg.ones(2, requires_grad=True) for _ in range(4)]
    h = x[0] * x[1] + x[2].exp()
    y = (h * x[3] + h.tanh() + x[0]).sum()
    root = ET.fromstring(mg.draw_graph(y))
    rects = [r for r in root.iter(f"{SVG}rect") if "rx" in r.attrib]
    places = [tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height")) for r in rects]
    for i, (ax, ay, w, h_) in enumerate(places):
        for bx, by, *_ in places[:i]:
            assert abs(ax - bx) >= w or abs(ay - by) >= h_
    width, height = (float(n) for n in root.attrib["viewBox"].split()[2:])
    assert all(0 <= px and px + w <= width and 0 <= py and py + h_ <= height for px, py, w, h_ in places)
    for path in root.iter(f"{SVG}path"):
        if "marker-end" in path.attrib:             # every arrow points down
            start, *_, end = path.attrib["d"].replace("M", "").replace("C", "").split()
            assert float(start.split(",")[1]) < float(end.split(",")[1])


def test_a_leaf_alone(backend):
    found, arrows = boxes(mg.draw_graph(mg.ones(2, 3, requires_grad=True)))
    assert found == [("leaf", "2 × 3")] and arrows == 0


def test_a_deep_graph(backend):
    y = x = mg.ones(1, requires_grad=True)
    for _ in range(1500):
        y = y + 1.0
    assert len(boxes(mg.draw_graph(y, names={x: "x"}))[0]) == 1501


def test_it_is_written_to_a_file(backend, tmp_path):
    x = mg.ones(2, requires_grad=True)
    target = tmp_path / "new" / "graph.svg"
    svg = mg.draw_graph(x * x, target)
    assert target.read_text(encoding="utf-8") == svg
    assert [p.name for p in target.parent.iterdir()] == ["graph.svg"]


def test_drawing_changes_nothing(backend):
    x = mg.ones(2, requires_grad=True)
    y = (x * x).sum()
    mg.draw_graph(y)
    y.backward()
    assert mg.to_numpy(x.grad).tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="walked before"):
        mg.draw_graph(y)
