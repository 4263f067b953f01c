"""One pass, cached by content: never stale, reused after a kill, safe for two at once, the same on several ranks."""

import errno
import os
import signal
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from standins import Colours, Pictures, embedded, pictures, png

import forked
from askew import distributed
from askew.errors import UserError
from askew.evaluation import features
from askew.evaluation.features import Extractor


@pytest.fixture
def shards(monkeypatch):
    monkeypatch.setattr(features, "SHARD", 6)


def test_features_are_in_order_and_whole(shards):
    images = pictures(17)
    ticks = []
    found = Extractor(Colours(), workers=3, tick=lambda done, total: ticks.append((done, total))).embed(images)
    for index in range(17):
        expected = Colours().preprocess(images[index]).numpy()
        np.testing.assert_array_equal(found.pooled[index], expected)
    np.testing.assert_allclose(np.linalg.norm(found.embedding, axis=1), 1, rtol=1e-6)
    assert found.readable.all()
    assert ticks[-1] == (17, 17)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)


def test_a_second_pass_encodes_nothing(shards, tmp_path):
    first, images = Extractor(Colours(), tmp_path), pictures(17)
    one = first.embed(images)
    second = Colours()
    images.decoded = 0
    again = Extractor(second, tmp_path)
    two = again.embed(images)
    assert (first.reused, again.reused) == (0, 17)
    assert second.forwards == images.decoded == 0
    assert (one.embedding == two.embedding).all()
    assert one.content == two.content


def test_a_cached_feature_is_never_stale(shards, tmp_path):
    """Another model, a changed image, another key, another order: a cache keyed by name would miss them."""
    Extractor(Colours(), tmp_path).embed(pictures(17))
    other_model = Extractor(Colours(name="other weights"), tmp_path)
    other_model.embed(pictures(17))
    assert other_model.reused == 0
    changed = pictures(17)
    changed.encoded[7] = png(99)
    model = Extractor(Colours(), tmp_path)
    found = model.embed(changed)
    assert model.reused == 11  # the shards of images 0 to 5 and 12 to 16
    assert (found.embedding == embedded(Colours(), changed).embedding).all()
    renamed = Pictures(pictures(6).encoded, prefix="q")
    assert Extractor(Colours(), tmp_path).embed(renamed).content != embedded(Colours(), pictures(6)).content
    backwards = Pictures(pictures(6).encoded[::-1])
    found = Extractor(Colours(), tmp_path).embed(backwards)
    assert (found.embedding == embedded(Colours(), backwards).embedding).all()


def test_a_damaged_file_is_made_again(shards, tmp_path):
    one = Extractor(Colours(), tmp_path).embed(pictures(12))
    files = sorted(tmp_path.rglob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:-40])
    flipped = bytearray(files[1].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    files[1].write_bytes(flipped)
    again = Extractor(Colours(), tmp_path)
    assert (again.embed(pictures(12)).embedding == one.embedding).all()
    assert again.reused == 0
    assert Extractor(Colours(), tmp_path).embed(pictures(12)).content == one.content
    assert not list(tmp_path.rglob("*.tmp"))


def test_unreadable_images_are_named_and_kept_out_of_the_cache(shards, tmp_path):
    images = pictures(13)
    images.encoded[2] = b"no image"
    for index in range(6, 12):
        images.encoded[index] = b""  # a whole shard
    extractor = Extractor(Colours(), tmp_path)
    found = extractor.embed(images)
    assert found.readable.tolist() == [i != 2 and not 6 <= i < 12 for i in range(13)]
    assert len(found.problems) == 7
    assert "p/2.png: cannot identify the image" in found.problems[0]
    assert (found.embedding[2] == 0).all()
    assert (found.embedding[7] == 0).all()
    assert len(list(tmp_path.rglob("*.npz"))) == 1  # the shard without a bad image
    with pytest.raises(UserError, match="none of the 2 images can be read; the first: p/0"):
        embedded(Colours(), Pictures([b"", b""]))
    with pytest.raises(UserError, match="no images"):
        embedded(Colours(), Pictures([]))


def test_damaged_weights_are_reported():
    class Damaged(Colours):
        def features(self, pixels):
            return None, np.full((len(pixels), 3), np.nan, dtype=np.float32)

    with pytest.raises(UserError, match="not finite"):
        embedded(Damaged(), pictures(2))


def unwritable(root: Path) -> Path:
    """A folder that cannot be made, because a file is in its place."""
    (root / "file").write_text("")
    return root / "file" / "features"


def test_without_a_writable_cache_an_evaluation_goes_on_and_says_so_once(shards, tmp_path):
    said: list[str] = []
    found = Extractor(Colours(), unwritable(tmp_path), warn=said.append).embed(pictures(17))
    assert (found.embedding == embedded(Colours(), pictures(17)).embedding).all()
    assert said == [
        f"the feature cache cannot be written to {tmp_path / 'file' / 'features'} (Not a directory), so features are "
        "not kept for the next evaluation; make room there, or name another folder with --cache DIR"
    ]


def test_a_disk_that_fills_up_midway_ends_the_cache_not_the_evaluation(shards, tmp_path, monkeypatch):
    """The second shard does not fit. The first is found again, and no later one is tried."""
    said, tried, save = [], [], np.savez

    def full(stream, **parts):
        tried.append(len(parts["readable"]))
        if len(tried) > 1:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(stream, **parts)

    monkeypatch.setattr(features.np, "savez", full)
    found = Extractor(Colours(), tmp_path, warn=said.append).embed(pictures(17))
    assert (found.embedding == embedded(Colours(), pictures(17)).embedding).all()
    assert (len(tried), len(said)) == (2, 1)
    assert "No space left on device" in said[0]
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".npz"]
    again = Extractor(Colours(), tmp_path)
    again.embed(pictures(17))
    assert again.reused == 6


def test_several_ranks_need_the_cache(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(UserError, match=r"cannot be written .*several ranks share features through it; .*--cache DIR"):
        Extractor(Colours(), unwritable(tmp_path)).embed(pictures(3))


def test_copies_of_a_picture_have_equal_hashes_of_their_own(shards):
    found = embedded(Colours(), Pictures([png(1), png(2), png(1), b""]))
    assert found.pictures[0] == found.pictures[2] != found.pictures[1]
    assert len(set(found.items)) == 4


def test_ranks_share_the_shards_and_meet_in_the_cache(shards, tmp_path, monkeypatch):
    whole, models = embedded(Colours(), pictures(17)), []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        models.append(Colours())
        Extractor(models[-1], tmp_path).share(pictures(17))
    assert [model.forwards for model in models] == [11, 6]
    main = Extractor(Colours(), tmp_path)
    assert (main.embed(pictures(17)).embedding == whole.embedding).all()
    assert main.reused == 17


PASS = """
    import os, signal, sys
    import numpy as np
    from pathlib import Path
    from askew.evaluation import features
    from standins import Colours, pictures

    features.SHARD = 6
    cache, kill = Path(sys.argv[1]), int(sys.argv[2])

    def tick(done, total):
        if kill and done >= kill:
            os.kill(os.getpid(), signal.SIGKILL)

    extractor = features.Extractor(Colours(), cache, tick=tick)
    found = extractor.embed(pictures(40))
    print(extractor.reused, found.content, float(found.embedding.sum()))
"""


def start(cache: Path, kill: int = 0) -> subprocess.Popen:
    where = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [forked.python(), "-c", textwrap.dedent(PASS), str(cache), str(kill)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": where})


def test_killed_and_started_again_and_two_at_once(tmp_path):
    killed = start(tmp_path, kill=26)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    both = [start(tmp_path), start(tmp_path)]
    answers = [process.communicate(timeout=120)[0].split() for process in both]
    assert all(int(reused) >= 24 for reused, *_ in answers)  # four shards of six were finished
    whole = embedded(Colours(), pictures(40))
    assert {content for _, content, _ in answers} == {whole.content}
    assert all(float(total) == float(whole.embedding.sum()) for *_, total in answers)
