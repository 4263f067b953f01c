"""The store of embeddings: in order and whole, never stale, resumed after a kill, the same from several ranks."""

import hashlib
import os
import signal

import numpy as np
import pytest
from standins import Colours, png

from askew import distributed
from askew.data.images import decode
from askew.data.sources.base import Sample, bytes_id
from askew.errors import RunFailed, Unusable, UserError
from askew.evaluation import reading_ahead, streaming
from askew.evaluation.streaming import Embeddings


class Words(Colours):
    """Colours, and texts as unit vectors that their hash decides. Counts the texts."""

    num_texts = 0

    def text(self, texts):
        self.num_texts += len(set(texts))
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=12) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Samples:
    """A source in memory: samples, or errors that reading one raises. Counts how many are read."""

    describe, notes, block, window = "samples in memory", (), 1, 1

    def __init__(self, samples):
        self.samples, self.reads = list(samples), 0

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.reads += 1
        found = self.samples[index]
        if isinstance(found, Exception):
            raise found
        return found

    def name(self, index):
        return f"sample {index}"


def sample(index, image=None, captions=None, match_id=None):
    image = png(index) if image is None else image
    return Sample(100 + index, match_id, image, captions or (f"picture {index}",), name=f"p/{index}.png")


def source_of(num):
    return Samples(sample(index) for index in range(num))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(streaming, "SIZE", 6)


def made(source, folder, model=None, **options):
    embeddings = Embeddings(source, model or Words(), folder, **options)
    embeddings.make()
    return embeddings


def joined(embeddings, name):
    return np.concatenate([getattr(chunk, name) for chunk in embeddings.chunks()])


def test_embeddings_are_in_order_and_whole(tmp_path):
    """17 samples in chunks of 6, batches of 4; every third sample has two captions."""
    samples = [
        sample(i, captions=(f"a {i}", f"b {i}") if i % 3 == 0 else (f"a {i}",), match_id=i // 2) for i in range(17)
    ]
    ticks = []
    found = made(Samples(samples), tmp_path, tick=lambda done, total: ticks.append((done, total)))
    assert (len(found), found.num_chunks, found.readable, found.problem) == (17, 3, 17, "")
    model, captions = Words(), [caption for one in samples for caption in one.captions]
    pixels = np.stack([model.preprocess(decode(one.image)).numpy() for one in samples])
    expected = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    np.testing.assert_allclose(joined(found, "image"), expected, rtol=1e-6)
    np.testing.assert_array_equal(joined(found, "text"), model.text(captions))
    assert [caption for chunk in found.chunks() for caption in chunk.captions] == captions
    assert joined(found, "owner").tolist() == [i for i, one in enumerate(samples) for _ in one.captions]
    assert joined(found, "match").tolist() == [i // 2 for i in range(17)]
    assert joined(found, "ids").tolist() == [100 + i for i in range(17)]
    assert [chunk.first for chunk in found.chunks()] == [0, 6, 12]
    assert found.chunk(2).names == [f"p/{i}.png" for i in range(12, 17)]
    assert [chunk.first for chunk in found.chunks([2, 0])] == [12, 0]
    assert ticks[-1] == (17, 17)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)
    assert 0 < found.data_wait < 1


def test_a_second_pass_encodes_nothing(tmp_path):
    one, again = made(source_of(17), tmp_path), Words()
    two = made(source_of(17), tmp_path, again)
    assert (one.reused, two.reused, again.forwards, again.num_texts) == (0, 17, 0, 0)
    for name in ("image", "text", "owner", "match", "readable"):
        np.testing.assert_array_equal(joined(one, name), joined(two, name))


def test_a_chunk_is_never_stale(tmp_path):
    """Another model, image, caption or match id is made; the chunks that it is not in are reused."""
    made(source_of(17), tmp_path)
    assert made(source_of(17), tmp_path, Words(name="other weights")).reused == 0
    for change in ({"image": png(99)}, {"captions": ("another",)}, {"match_id": 5}):
        changed = source_of(17)
        changed.samples[7] = sample(7, **change)
        found = made(changed, tmp_path)
        assert found.reused == 11  # samples 0 to 5 and 12 to 16
        fresh = made(changed, tmp_path / "fresh")
        for name in ("image", "text", "match"):
            np.testing.assert_array_equal(joined(found, name), joined(fresh, name))


def test_what_can_be_decoded_decides_too(tmp_path, monkeypatch):
    """HEIC files may be unreadable until a package is installed: the chunk is then made again."""
    made(source_of(3), tmp_path)
    monkeypatch.setattr(streaming, "formats", lambda: ("PNG", "HEIF"))
    assert made(source_of(3), tmp_path).reused == 0


def test_samples_moved_by_a_chunk_are_found_and_have_their_new_indices(tmp_path):
    samples = [Unusable("cut", "cut"), *(sample(i) for i in range(1, 12))]
    made(Samples(samples), tmp_path)
    moved = made(Samples([*(sample(i) for i in range(20, 26)), *samples[6:]]), tmp_path)
    assert moved.reused == 6
    assert moved.chunk(1).owner.tolist() == [6, 7, 8, 9, 10, 11]


def test_a_picture_is_encoded_once_per_chunk(tmp_path):
    """Samples 0 and 2 have the same bytes; 6 to 8 are another chunk with a picture of the first."""
    model = Words()
    samples = [sample(i, image=png({2: 0, 7: 1}.get(i, i)), captions=("one caption",)) for i in range(9)]
    found = made(Samples(samples), tmp_path, model)
    assert (model.forwards, model.num_texts) == (5 + 3, 2)
    image, match = joined(found, "image"), joined(found, "match")
    assert (image[0] == image[2]).all()
    assert match[0] == match[2] == bytes_id(png(0))
    np.testing.assert_allclose(image[7], image[1], rtol=1e-6)
    assert (joined(found, "picture")[[0, 7]] == match[[0, 7]]).all()


def test_samples_that_cannot_be_used_have_zero_rows_and_a_problem(tmp_path):
    """1 is no image, 3 cannot be read, 4 has a blank caption, 6 to 8 are a whole chunk without an image."""
    samples = [sample(i) for i in range(9)]
    samples[1] = sample(1, image=b"no image")
    samples[3] = FileNotFoundError(2, "No such file or directory")
    samples[4] = sample(4, captions=(" ",))
    samples[6:] = [sample(i, image=b"") for i in range(6, 9)]
    found = made(Samples(samples), tmp_path)
    usable = [i in (0, 2, 5) for i in range(9)]
    assert joined(found, "readable").tolist() == usable
    assert (np.linalg.norm(joined(found, "image"), axis=1) > 0.5).tolist() == usable
    assert found.readable == 3
    problems = [problem for chunk in found.chunks() for problem in chunk.problems]
    assert len(problems) == 6
    assert found.problem == problems[0]
    assert problems[0].startswith("p/1.png: cannot identify the image")
    assert problems[1:3] == ["sample 3: No such file or directory", "p/4.png: no caption"]
    assert joined(found, "owner").tolist() == [0, 1, 2, 5, 6, 7, 8]
    match = joined(found, "match")
    assert match[3] == -4
    assert len(set(match)) == 7  # 6 to 8 have equal bytes, none at all
    assert made(Samples(samples), tmp_path).reused == 9


def test_nothing_to_embed_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none of the 2 samples can be used; the first: p/0.png: empty image"):
        made(Samples([sample(0, image=b""), Unusable("cut", "cut")]), tmp_path)
    with pytest.raises(UserError, match="samples in memory: the source has no samples"):
        made(Samples([]), tmp_path)
    with pytest.raises(RunFailed, match=r"sample 1 \(sample 1\) could not be read: KeyError"):
        made(Samples([sample(0), KeyError("x")]), tmp_path)


def test_damaged_weights_are_reported(tmp_path):
    class Damaged(Words):
        def features(self, pixels):
            return None, np.full((len(pixels), 12), np.nan, dtype=np.float32)

    with pytest.raises(UserError, match="not finite"):
        made(source_of(2), tmp_path, Damaged())
    assert not list(tmp_path.rglob("*.npz"))


def test_large_images_are_read_again_and_not_kept(tmp_path, monkeypatch):
    one = source_of(6)
    made(one, tmp_path / "kept")
    assert one.reads == 6
    monkeypatch.setattr(reading_ahead, "KEPT", len(png(0)) + len(png(1)))
    two = source_of(6)
    found = made(two, tmp_path / "again")
    assert two.reads == 6 + 4
    assert (joined(found, "image") == joined(made(source_of(6), tmp_path / "kept"), "image")).all()


def test_a_damaged_file_is_made_again_and_one_that_vanishes_is_reported(tmp_path):
    one, said = made(source_of(12), tmp_path), []
    whole = joined(one, "image")
    file = sorted(tmp_path.rglob("*.npz"))[0]
    file.write_bytes(file.read_bytes()[:-40])
    two = made(source_of(12), tmp_path, warn=said.append)
    assert two.reused == 6
    assert said == [f"{file} is damaged, and is made again"]
    assert (joined(two, "image") == whole).all()
    file.unlink()
    with pytest.raises(UserError, match=r"is gone or damaged.*--cache DIR"):
        joined(two, "image")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"a chunk of embeddings could not be written to .*--cache DIR"):
        made(source_of(2), tmp_path / "file" / "cache")


def test_a_source_that_is_known_is_not_read_again(tmp_path, monkeypatch):
    """Of 17 samples, 5 are compared: 0, 4, 8, 12 and 16."""
    monkeypatch.setattr(streaming, "PROBED", 5)
    one = made(source_of(17), tmp_path)
    assert not one.recall("data")
    one.remember("data")
    again = source_of(17)
    two = Embeddings(again, Words(), tmp_path)
    assert two.recall("data")
    assert (again.reads, two.readable, two.reused) == (5, 17, 17)
    assert (joined(two, "image") == joined(one, "image")).all()
    changed = source_of(17)
    changed.samples[12] = sample(12, captions=("another",))
    for source, model, called in (
        (changed, Words(), "data"),
        (source_of(18), Words(), "data"),
        (source_of(17), Words(name="other weights"), "data"),
        (source_of(17), Words(), "other data"),
    ):
        assert not Embeddings(source, model, tmp_path).recall(called)
    sorted(tmp_path.rglob("*.npz"))[0].unlink()
    assert not two.recall("data")


def test_ranks_share_the_chunks_and_each_reads_all(tmp_path, monkeypatch):
    """Two ranks, one after the other; what the collectives would exchange is put in their place."""
    whole = joined(made(source_of(17), tmp_path / "one"), "image")
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "together", lambda work: work())
    models, given = [Words(), Words()], []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "all_gather_object", lambda own: given.append(own) or list(given))
        found = made(source_of(17), tmp_path / "two", models[rank])
    assert [model.forwards for model in models] == [11, 6]
    assert (found.readable, len(given)) == (17, 2)
    assert (joined(found, "image") == whole).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process is killed as Linux kills")
def test_killed_and_started_again(tmp_path):
    def tick(done, total):
        if done >= 26:
            os.kill(os.getpid(), signal.SIGKILL)

    process = os.fork()
    if not process:
        made(source_of(40), tmp_path, tick=tick)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    again = made(source_of(40), tmp_path)
    assert again.reused == 24  # four chunks of six were finished
    np.testing.assert_array_equal(joined(again, "image"), joined(made(source_of(40), tmp_path / "new"), "image"))
