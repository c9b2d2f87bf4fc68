"""Numbers of the experiments that need no training: what the spec measured comes out again."""
import json

import numpy as np
import pytest

from minigrad.experiments import precision_adam, precision_matmul, precision_updates
from minigrad.experiments.precision_common import LOOKS


def written(out, name):
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((out / f"{name}.json").read_text())
    assert len(about["alt"]) > 100 and about["settings"]
    return about


def test_looks_differ_in_more_than_color():
    for names in (("fp32", "fp16", "fp16 scaled", "bf16", "tf32"), ("fp32", "nearest", "master", "kahan", "stochastic")):
        looks = [LOOKS[name] for name in names]
        assert len({x.marker for x in looks}) == len({x.color for x in looks}) == len({str(x.line) for x in looks}) == len(names)


def test_a_thousand_updates(tmp_path):
    rows = precision_updates.precision_updates(out=tmp_path, seeds=range(3), say=lambda _: None)
    end = {(r["format"], r["recipe"]): r["final"] for r in rows}
    assert end["fp32", "nearest"] == pytest.approx(0.89998, abs=1e-5)
    assert end["bf16", "nearest"] == end["fp16", "nearest"] == 1.0                 # not one of a thousand arrives
    assert end["bf16", "kahan"] == 0.90234375 and end["bf16", "master"] == 0.8984375
    assert end["fp16", "kahan"] == pytest.approx(0.9, abs=5e-4) and end["fp16", "master"] == pytest.approx(0.9, abs=5e-4)
    for format, spread in (("bf16", 0.02), ("fp16", 0.007)):
        runs = [r for r in rows if (r["format"], r["recipe"]) == (format, "stochastic")]
        assert len(runs) == 3
        for r in runs:                              # unbiased: within 5 standard errors of 256 weights
            assert abs(r["final"] - 0.9) < 5 * spread / 16 and r["spread"] == pytest.approx(spread, rel=0.25)
    written(tmp_path, "precision_updates")


def test_short_updates_stay_in_the_format():
    from minigrad import amp

    for recipe in precision_updates.RECIPES["bf16"]:
        path = precision_updates.trajectory("bf16", recipe, updates=20, weights=8)
        assert path.shape == (21, 8)
        np.testing.assert_array_equal(amp.round_to(path, "bf16"), path)


def test_matmul_error_grows_only_where_every_step_is_rounded(tmp_path, monkeypatch):
    monkeypatch.setattr(precision_matmul, "LENGTHS", (16, 64, 256, 1024))
    rows = precision_matmul.precision_matmul(out=tmp_path, seeds=range(2), say=lambda _: None)
    slopes = {key: precision_matmul.slope([r for r in rows if (r["format"], r["model"]) == key]) for key in precision_matmul.SERIES}
    for format in ("fp16", "bf16"):
        assert abs(slopes[format, "tensorcore"]) < 0.05 and 0.35 < slopes[format, "per_op"] < 0.6
    error = {(r["format"], r["model"]): r["error"] for r in rows if r["K"] == 64}
    assert error["fp16", "tensorcore"] == pytest.approx(3.7e-4, rel=0.1) and error["bf16", "tensorcore"] == pytest.approx(2.9e-3, rel=0.1)
    assert error["fp16", "per_op"] == pytest.approx(1.3e-3, rel=0.2) and error["bf16", "per_op"] == pytest.approx(1e-2, rel=0.2)
    written(tmp_path, "precision_matmul")


def test_adams_pitfalls(tmp_path):
    rows = precision_adam.precision_adam(out=tmp_path, seeds=range(2), say=lambda _: None)
    constants = {r["series"]: r["y"] for r in rows if r["pitfall"] == "constants"}
    assert constants["1e-08 in fp16"] == 0.0 and constants["3e-08 in fp16"] == 2.0 ** -24 and constants["0.999 in bf16"] == 1.0
    step = precision_adam.step_size
    assert not np.isfinite(step(1e-3, "fp16", 1e-8)) and step(1e-1, "fp16", 1e-8) == pytest.approx(1, abs=0.02)
    assert step(1e-3, "fp32", 1e-8) == pytest.approx(1, abs=1e-3)
    assert step(1e-6, "fp32", 1e-8, inside=True) == pytest.approx(0.01, rel=0.02)          # as if epsilon were 1e-4
    after = {r["series"]: r["y"] for r in rows if r["pitfall"] == "beta2" and r["x"] == 2000 and not r["seed"]}
    assert after["bfloat16, nearest"] == 1.0 and after["float32"] == pytest.approx(0.999 ** 2000, abs=1e-3)
    assert after["bfloat16, stochastic"] == pytest.approx(0.135, abs=0.02)
    written(tmp_path, "precision_adam")


def test_as_a_command(tmp_path, capsys):
    from minigrad.cli import main

    assert main(["experiments", "precision-updates", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "kahan" in capsys.readouterr().out
    assert written(tmp_path, "precision_updates")["command"].startswith("minigrad")
    assert main(["experiments", "precision-memory", "--base", "raeder", "--out", str(tmp_path)]) == 2
    assert "unknown base model 'raeder'" in capsys.readouterr().err
