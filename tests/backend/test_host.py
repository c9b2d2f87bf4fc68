"""Host arrays: ids are checked before they are sent, and all randomness comes from one generator."""
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import host


@pytest.mark.parametrize("values", [[0, 3], (0, 3), np.array([0, 3], np.uint8), mg.tensor([0, 3])])
def test_ids_of_many_kinds(values):
    checked = host.ids(values, 4)
    assert checked.dtype == np.int64 and checked.tolist() == [0, 3]


def test_ids_that_are_none():
    assert host.ids([], 4).dtype == np.int64 and host.ids(np.zeros((2, 0)), 4).shape == (2, 0)


@pytest.mark.parametrize("values, message", [
    ([[0, 1], [2, 4]], r"token id 4 at \(1, 1\) is outside 0 … 3"),
    ([-1], r"token id -1 at \(0,\) is outside 0 … 3"),
    (7, r"token id 7 at \(\) is outside"),
])
def test_the_first_bad_id_is_named(values, message):
    with pytest.raises(IndexError, match=message):
        host.ids(values, 4)


@pytest.mark.parametrize("values, message", [([0.5], "must be host integers; got dtype float64"),
                                             ([True], "got dtype bool"), ([[1], [1, 2]], "different lengths")])
def test_what_are_no_ids(values, message):
    with pytest.raises(TypeError, match=message):
        host.ids(values, 4)


def test_one_value_beyond_the_range_may_be_allowed():
    assert host.ids([0, -100], 4, also=-100).tolist() == [0, -100]
    with pytest.raises(IndexError, match=r"target -1 at \(1,\) is outside 0 … 3 \(and is not -100\)"):
        host.ids([0, -1], 4, "target", also=-100)


def test_the_same_numbers_on_every_backend(backend):
    mg.manual_seed(11)
    drawn = [mg.randn(3).tolist(), mg.rand(2).tolist(), mg.dropout(mg.ones(8), 0.5).tolist()]
    with mg.use_backend("numpy"):
        mg.manual_seed(11)
        assert drawn == [mg.randn(3).tolist(), mg.rand(2).tolist(), mg.dropout(mg.ones(8), 0.5).tolist()]


def test_the_generator_continues_from_its_saved_state():
    host.rng().random(3)
    saved = json.dumps(host.get_state())
    first = host.rng().standard_normal(5)
    host.set_state(json.loads(saved))
    np.testing.assert_array_equal(host.rng().standard_normal(5), first)


@pytest.mark.parametrize("seed", [-1, 1.0, "0", True, None])
def test_seeds_are_natural_numbers(seed):
    with pytest.raises(ValueError, match="non-negative integer"):
        mg.manual_seed(seed)


@pytest.mark.parametrize("dtype", ["float31", "complex64", "O", "datetime64", object()])
def test_unknown_dtypes_are_told_the_known_ones(dtype):
    with pytest.raises(TypeError, match="unknown dtype .*known are float64, float32"):
        mg.zeros(2, dtype=dtype)
