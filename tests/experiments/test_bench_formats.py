"""The cost of emulated formats: the table is complete and the ratios are ratios."""
from minigrad.experiments.bench_formats import bench_formats


def test_it_reports_every_format(capsys):
    said = []
    result = bench_formats(batch_size=2, tokens=4, rounds=1, say=said.append)
    assert result["step"]["fp32"] == 1.0 and set(result["step"]) == {"fp32", "bf16", "fp16"}
    assert result["rounding"]["float32 add"] == 1.0 and len(result["rounding"]) == 11
    assert "fp16, subnormal" in said[0] and min(result["rounding_ms"].values()) > 0
