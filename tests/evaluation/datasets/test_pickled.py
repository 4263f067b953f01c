"""Pickles of arrays are read, and nothing in a pickle is ever called."""

import pickle
import pickletools

import numpy as np
import pytest
import replicas

from askew.evaluation.datasets.pickled import read_pickle

ARRAY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def test_pickles_that_python_2_wrote():
    written = {
        "labels": [0, 255, 70000],
        "data": ARRAY,
        "batch_label": "training batch 1 of 5",
        "filenames": ["é"] * 300,
    }
    data = replicas.python2_pickle(written)
    assert {op.name for op, _, _ in pickletools.genops(data)} >= {"SHORT_BINSTRING", "GLOBAL", "REDUCE", "BUILD"}
    read = read_pickle(data)
    assert {key: value for key, value in read.items() if key != "data"} == {
        key: value for key, value in written.items() if key != "data"
    }
    assert read["data"].dtype == np.uint8
    assert np.array_equal(read["data"], ARRAY)


def test_pickle_itself_reads_the_replica():
    """Only this test unpickles, and only what it has just written."""
    read = pickle.loads(replicas.python2_pickle({"data": ARRAY, "labels": [3, 300]}), encoding="latin1")
    assert np.array_equal(read["data"], ARRAY)
    assert read["labels"] == [3, 300]


@pytest.mark.parametrize("protocol", [1, 2])
def test_numbers_lists_and_tuples_of_python_3(protocol):
    value = {"a": [1, -2, 2**40, 1.5, True, None, ("x", "y"), ("z",), (1, 2, 3, 4)], "b": [], "c": {}, "d": ()}
    assert read_pickle(pickle.dumps(value, protocol)) == value


def test_an_array_in_fortran_order():
    data = replicas.python2_pickle(ARRAY)
    raw = ARRAY.tobytes()
    fortran = data.replace(b"\x89U\x06" + raw, b"\x88U\x06" + ARRAY.tobytes(order="F"))
    assert fortran != data
    assert np.array_equal(read_pickle(fortran), ARRAY)


class Evil:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_called(protocol, capsys):
    with pytest.raises(ValueError, match="only plain NumPy arrays are read"):
        read_pickle(pickle.dumps(Evil(), protocol))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        replicas.python2_pickle({"data": ARRAY})[:-20],
        replicas.python2_pickle({"data": ARRAY})[:-1],
        b"\x80\x02.",
        b"\x80\x02ts.",
        b"\x80\x02h\x05.",
        b"\x80\x02]q\x00h\x00a.",  # a list that contains itself
        replicas.python2_pickle(ARRAY).replace(b"U\x02u1", b"U\x02O8"),
        replicas.python2_pickle(ARRAY).replace(b"K\x02K\x03t", b"K\x09K\x03t"),
        replicas.python2_pickle(ARRAY).replace(b"cnumpy\nndarray\n", b"cos\nsystem\n"),
    ],
)
def test_anything_else_is_a_value_error(data):
    with pytest.raises(ValueError):
        read_pickle(data)
