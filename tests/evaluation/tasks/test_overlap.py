"""Copies of test images in a training source are found, byte for byte or nearly so."""

import io

import numpy as np
from PIL import Image
from standins import Pictures, pictures

from askew.data.sources import open_source
from askew.evaluation.tasks.overlap import bits_apart, difference_hash, overlap
from helpers import write_pairs


def again(data, size, quality):
    """The picture, scaled and compressed again."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((size, size)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def photo(seed):
    """A random picture that is smooth at the size of the hash, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, size=(8, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((180, 160), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def test_hashes_of_a_copy_are_near_and_of_others_far():
    hashes = [difference_hash(Image.open(io.BytesIO(photo(seed)))) for seed in range(20)]
    copies = [difference_hash(Image.open(io.BytesIO(again(photo(seed), 90, 60)))) for seed in range(20)]
    distances = bits_apart(np.array(hashes, dtype=np.uint64), np.array(copies, dtype=np.uint64))
    assert distances.diagonal().max() <= 3
    assert (distances + 64 * np.eye(20)).min() > 10
    ramp = Image.fromarray(np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1)))
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(Image.new("L", (50, 50), 7)) == 0
    assert bits_apart(np.array([0b1011], dtype=np.uint64), np.array([0, 2**63], dtype=np.uint64)).tolist() == [[3, 4]]


def test_copies_in_a_training_source_are_found(tmp_path):
    table = write_pairs(tmp_path, 9)
    (tmp_path / "0002.png").write_bytes(photo(1))
    (tmp_path / "0005.png").write_bytes(photo(2))
    (tmp_path / "0006.png").write_bytes(b"no image")
    flat = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(flat, "PNG")
    (tmp_path / "0008.png").write_bytes(flat.getvalue())
    other_flat = io.BytesIO()
    Image.new("RGB", (30, 30), "gray").save(other_flat, "PNG")
    test = Pictures([photo(0), photo(1), again(photo(2), 100, 70), b"", other_flat.getvalue()])
    result = overlap("custom", test, open_source(str(table)), "pairs.csv")
    assert result.task == "custom/overlap"
    assert result.values == {"exact": 1, "near": 1, "n": 5}
    assert result.protocol["pairs"] == [["p/1.png", "0002.png", "exact"], ["p/2.png", "0005.png", "near"]]
    assert (result.protocol["source_unreadable"], result.protocol["test_unreadable"]) == (1, 1)
    assert overlap("custom", pictures(3, first=50), open_source(str(table)), "x").protocol["pairs"] == []
