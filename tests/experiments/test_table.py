import json

import pytest

from minigrad.experiments import figure, table

DESIGNED = ("task, method, rank, alpha, lr, seed, steps, trainable, percent, acc_base, acc, per_base, per, step_ms, "
            "activation_bytes, gradient_bytes, optimizer_bytes, stored_bytes, latency1_ms, latency1_merged_ms, latency32_ms, "
            "latency32_merged_ms").split(", ")


def test_columns_are_the_promised_ones():
    assert list(table.COLUMNS) == DESIGNED


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"task": "rhyme", "method": "lora", "rank": 8, "lr": 0.005, "acc": 1 / 3, "latency1_merged_ms": None},
            {"task": "rhyme", "method": "full", "acc": float("nan")}]
    table.write("t", tmp_path, rows, alt="a table", about={"command": "minigrad test"})
    first, second = table.read_csv(tmp_path / "t.csv")
    assert first["rank"] == 8 and first["acc"] == 0.333333 and first["latency1_merged_ms"] is None
    assert second["acc"] is None and list(second) == DESIGNED
    about = json.loads((tmp_path / "t.json").read_text())
    assert about["alt"] == "a table" and about["command"] == "minigrad test"
    assert {"commit", "date", "minigrad", "python", "numpy", "blas", "machine"} <= set(about)


def test_a_broken_csv_names_its_line(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"t\.csv:3: 1 cells, but the first line names 2"):
        table.read_csv(tmp_path / "t.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        table.read_csv(tmp_path / "empty.csv")


def test_every_series_differs_in_more_than_color():
    styles = [figure.style(name) for name in figure.STYLES]
    markers, lines = [s[1] for s in styles], [str(s[2]) for s in styles]
    assert len(set(markers)) == len(styles) and len({s[0] for s in styles}) == len(styles)
    assert len({m + d for m, d in zip(markers, lines, strict=True)}) == len(styles)


def test_a_method_that_came_later_has_a_style_too():
    assert figure.style("dora") == figure.style("dora") in figure.OTHERS


def test_names_do_not_overlap():
    fig, ax = figure.new_figure()
    ax.set_xlim(0, 1), ax.set_ylim(0, 1)
    figure.spread_labels(ax, [(0.5, 0.5 + i / 500, f"method {i}", "black") for i in range(4)])
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1:])


def test_one_seed_draws_without_an_interval():
    _, ax = figure.new_figure()
    assert figure.draw_points(ax, [1], [[0.5]], "lora")[0].mean == 0.5
