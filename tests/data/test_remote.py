"""Shards far away give exactly the samples and batches of the same shards here, with every fault of a link."""

import io
import os
import pickle
import re
import shutil
import sys
import tarfile
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import torch
from far_away import WebServer, write_shards

from askew.data.loader import Loader
from askew.data.order import Order
from askew.data.remote import store as store_module
from askew.data.remote.address import RemoteShard
from askew.data.remote.ahead import FetchAhead
from askew.data.remote.cache import PartCache, ShardPart
from askew.data.remote.store import RemoteStore, delay_before, shown
from askew.data.sources import SourceOptions, open_source
from askew.data.sources.each_caption import with_captions
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.errors import RunFailed, Unusable, UserError
from askew.training.fingerprint import contents_of, refuse_other_data

SHARDS, SAMPLES = 3, 300
NUM = SHARDS * SAMPLES
PATTERN = "{00000..00002}.tar"
FAULTS = ["", "503", "reset", "short", "cut", "hang"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), SHARDS, SAMPLES)


@pytest.fixture(scope="module")
def local(shards):
    return open_source(str(shards / PATTERN))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store_module, "FIRST_DELAY", 0.01)
    return tmp_path / "cache" / "askew" / "remote"


@pytest.fixture
def web(shards):
    with WebServer(shards).running() as server:
        yield server


def far(web, pattern=PATTERN, **options):
    return open_source(f"{web.url}/{pattern}", SourceOptions(**{"remote_timeout": 2.0, **options}))


def parts_in(folder):
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def emptied(folder):
    """The cache without any part, as it is where only the indices are left."""
    for name in parts_in(folder):
        (folder / name).unlink()
    (folder / ".used").unlink()


def gets(web):
    return [asked for method, _, asked in web.requests if method == "GET"]


def loader_of(source, **settings):
    view = ImageView("image", 16, (0.5, 1.0))
    views = Views(("image", "text"), (view,), Tokens(16), MaskedTokens(), Normalise((0.5,) * 3, (0.5,) * 3), 0.5)
    return Loader(source, views, **{"batch_size": 30, "seed": 3, **settings})


def assert_same_batches(one, other, first, last):
    with_ends = zip(one.batches(first, last), other.batches(first, last), strict=True)
    for number, (left, right) in enumerate(with_ends):
        assert left.keys() == right.keys()
        assert left["bad_samples"] == right["bad_samples"] == []
        assert all(torch.equal(left[key], right[key]) for key in left.keys() - {"bad_samples"}), number


@pytest.mark.parametrize(("ranges", "read"), [(True, "whole"), (True, "range"), (False, "auto")])
def test_every_sample_is_that_of_the_local_shards_through_every_fault(web, local, own_cache, ranges, read):
    web.ranges, web.faults = ranges, list(FAULTS)
    source = far(web, remote_read=read)
    assert (len(source), source.describe, source.notes) == (NUM, local.describe, local.notes)
    emptied(own_cache)
    web.faults += FAULTS
    assert all(source[index] == local[index] for index in range(NUM))
    assert web.faults == []
    again = pickle.loads(pickle.dumps(source))  # as it goes to a spawned worker
    assert again[7] == local[7]
    before = len(web.requests)
    assert far(web, remote_read=read)[7] == local[7]
    assert [asked for asked in web.requests[before:] if asked[0] == "GET" and asked[2] != "bytes=0-0"] == []


def test_the_data_are_the_same_wherever_they_lie(web, local):
    source = far(web)
    facts = {"contents": contents_of(local), "data": "the names of the local files"}
    assert contents_of(source) == facts["contents"]
    refuse_other_data("step-1", facts, source, "the addresses", contents_of(source))  # a run may move to them
    assert source.name(5) == local.name(5).replace(str(web.folder), web.url)


@pytest.mark.parametrize(("ranges", "read", "workers"), [(True, "range", 2), (True, "whole", 0), (False, "auto", 2)])
def test_batches_are_those_of_the_local_run_bit_for_bit_and_so_are_resumed_ones(
    web, local, own_cache, ranges, read, workers
):
    web.ranges = ranges
    source = far(web, remote_read=read)
    emptied(own_cache)
    web.faults = list(FAULTS)
    assert_same_batches(loader_of(local), loader_of(source, num_workers=workers), 0, 4)
    emptied(own_cache)
    resumed = loader_of(source, num_workers=workers)
    assert_same_batches(loader_of(local), resumed, 27, 32)  # and into the next epoch


@pytest.mark.parametrize("mix", ["plain", "each", "mixed"])
def test_what_the_order_needs_is_fetched_ahead_and_nothing_else(web, own_cache, mix):
    options = SourceOptions(remote_read="range")
    if mix == "mixed":
        one = open_source(f"{web.folder}/00000.tar + {web.url}/{{00001..00002}}.tar*2", options)
    else:
        one = with_captions(open_source(f"{web.url}/{PATTERN}", options), {"plain": "one"}.get(mix, mix))
    emptied(own_cache)
    order = Order(len(one), 1, 0, block=64, window=192)
    order.announce(one, 400)  # in the third window: it and the fourth are needed soon
    names = [re.search(r"http.*/(\S+\.tar), byte ([\d,]*\d)", one.name(order[place])) for place in range(384, 768)]
    needed = {(found[1], int(found[2].replace(",", ""))) for found in names if found}

    def covered():
        ranges = [name.split("-") for name in parts_in(own_cache) if not name.endswith(".part")]
        return [(name, int(start), int(stop)) for name, _, start, stop in ranges]

    def there(name, byte):
        return any(name == other and start <= byte < stop for other, start, stop in covered())

    wait_for(lambda: all(there(*place) for place in needed))
    # A block that reaches beyond the second window may lie in one more part
    touched = [part for part in covered() if any(n == part[0] and part[1] <= b < part[2] for n, b in needed)]
    assert len(covered()) - len(touched) <= 1


def shard(number, size=100):
    return RemoteShard(f"https://host/{number:02d}.tar", size, "v")


def parts(count, size=100):
    return [ShardPart(shard(number, size), 0, size) for number in range(count)]


def filled(part, place):
    place.write_bytes(bytes(part.size))


def bytes_in(folder):
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # removed meanwhile
            total += 0 if file.name.startswith(".") else file.stat().st_size
    return total


def test_the_bound_of_the_cache_is_never_exceeded(tmp_path):
    cache, most, lock = PartCache(tmp_path, 450), [0], threading.Lock()

    def fill(part, place):
        filled(part, place)
        with lock:
            most[0] = max(most[0], bytes_in(tmp_path))
        time.sleep(0.002)

    def work(seed):
        for part in np.random.default_rng(seed).permutation(parts(12)).tolist():
            fitting = cache.fetch(part, fill)
            assert fitting

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 300 <= most[0] <= 450
    assert bytes_in(tmp_path) <= 450


def test_what_is_needed_stays_and_what_was_not_used_for_longest_goes(tmp_path):
    cache, made = PartCache(tmp_path, 350), parts(6)
    for part in made[:3]:
        assert cache.fetch(part, filled)
    os.utime(tmp_path / made[1].name, (1, 1))
    os.utime(tmp_path / made[2].name, (2, 2))
    assert cache.fetch(made[3], filled, keep={made[1].name})
    assert [cache.has(part) for part in made] == [True, True, False, True, False, False]
    assert cache.read(made[0], 10, 5) == bytes(5)
    assert cache.read(made[0], 98, 5) is None  # less than was asked for
    everything = {part.name for part in made}
    assert not cache.fetch(made[4], filled, keep=everything)  # no room
    assert not cache.fetch(ShardPart(shard(9, 400), 0, 400), filled)  # more than all of it
    with cache.held(made[0]), cache.held(made[1]), cache.held(made[3]):
        assert not cache.fetch(made[4], filled, wait=False)  # nothing is removed that is being read
    cache.discard(made[0])
    assert cache.fetch(made[4], filled, keep=everything)


def test_what_a_dead_process_was_fetching_counts_until_room_is_needed(tmp_path):
    cache, made = PartCache(tmp_path, 250), parts(3)
    (tmp_path / f"{made[0].name}.part").write_bytes(b"half")
    (tmp_path / ".used").write_text(f"{100:020d}")
    assert cache.fetch(made[1], filled)
    assert cache.fetch(made[2], filled, keep={made[1].name})
    assert parts_in(tmp_path) == sorted(part.name for part in made[1:])

    def failing(part, place):
        place.write_bytes(b"half")
        raise OSError("the link is down")

    with pytest.raises(OSError, match="the link is down"):
        cache.fetch(made[0], failing)
    with pytest.raises(Unusable, match="1 of 100 bytes came"):
        cache.fetch(made[0], lambda part, place: place.write_bytes(b"1"))
    assert not cache.has(made[0])
    assert cache.fetch(made[0], filled)


def test_two_processes_do_not_fetch_the_same_part(tmp_path):
    cache, part, calls = PartCache(tmp_path, 1000), parts(1)[0], []

    def slow(part, place):
        calls.append(place)
        assert not PartCache(tmp_path, 1000).fetch(part, filled, wait=False)  # another one has it
        time.sleep(0.1)
        filled(part, place)

    threads = [threading.Thread(target=cache.fetch, args=(part, slow)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_the_plan_keeps_the_first_parts_that_are_needed_of_all_sources(tmp_path):
    class Reader:
        """Stands for a source."""

    made, fetched = parts(8), []

    def fill(part, place):
        fetched.append(part)
        filled(part, place)

    ahead, one, other = FetchAhead(PartCache(tmp_path, 450)), Reader(), Reader()
    ahead.expect(one, [(place, made[place], fill) for place in (0, 2, 2, 4, 5)], soon=3)
    wait_for(lambda: fetched == [made[0], made[2]])
    assert ahead.keep == {made[place].name for place in (0, 2, 4, 5)}
    ahead.expect(other, [(place, made[place], fill) for place in (1, 3, 6)], soon=3)
    assert ahead.keep == {made[place].name for place in (0, 1, 2, 3)}
    wait_for(lambda: fetched == [made[0], made[2], made[1]])
    del other
    ahead.expect(one, [(place, made[place], fill) for place in (4, 5, 7)], soon=6)
    wait_for(lambda: fetched[3:] == [made[4], made[5]])
    assert bytes_in(tmp_path) <= 450


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def changed(folder, number, old, new):
    """The shard with other contents of the same size at the same places."""
    file = folder / f"{number:05d}.tar"
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new))


def test_a_shard_that_changes_ends_the_run_and_is_never_other_data(web, shards, tmp_path, own_cache):
    web.folder = shutil.copytree(shards, tmp_path / "copy")
    source = far(web, remote_read="range")
    emptied(own_cache)
    changed(web.folder, 1, b"picture number 3", b"picture number 7")
    assert source[2].captions == ("picture number 2",)
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"/00001.tar changed while in use \(.* bytes when it was opened"):
            source[302]
    batch = next(iter(loader_of(source, num_workers=1).batches(0, 1)))  # of 30 samples, three of which changed
    assert re.search("put the former one back, and resume with --resume, or start a new run", batch["failed"])
    assert far(web)[302].captions == ("picture number 702",)  # opened anew, it is indexed anew
    emptied(own_cache)
    (web.folder / "00002.tar").unlink()
    with pytest.raises(Unusable, match=r"00002\.tar does not exist in the store") as gone:
        source[602]
    assert gone.value.cause == "shard gone"


def test_bytes_that_arrive_damaged_are_read_again(web, local, own_cache):
    source = far(web, remote_read="range")
    emptied(own_cache)
    web.faults = ["noise"]
    assert source[400] == local[400]
    for index in range(256, 300):
        assert source[index] == local[index]  # the whole part is here now
    (name,) = parts_in(own_cache)
    good = (own_cache / name).read_bytes()
    (own_cache / name).write_bytes(bytes(255 - byte for byte in good))
    assert source[270] == local[270]
    assert (own_cache / name).read_bytes() == good


def test_what_fails_for_good_is_a_bad_sample(web, own_cache):
    source = far(web, remote_read="range", remote_retries=2)
    emptied(own_cache)
    for fault, number, cause, words in (
        ("503", 3, "remote read failed", "00000.tar could not be read in 3 attempts (ClientResponseError: 503"),
        ("403", 1, "permission denied", "the store denies access (403); name an address that needs no password"),
    ):
        web.faults, web.requests = [fault] * 3, []
        with pytest.raises(Unusable, match=re.escape(words)) as failed:
            source[0]
        assert (failed.value.cause, len(web.requests)) == (cause, number)


def test_requests_are_limited_per_second_and_delays_grow(web, tmp_path):
    store = RemoteStore(web.url, SourceOptions(remote_requests=20), tmp_path)
    again = pickle.loads(pickle.dumps(store))
    started = time.monotonic()
    for one in (store, again, store, again, store):
        assert len(one.read(f"{web.url}/00000.tar", 0, 10)) == 10
    assert time.monotonic() - started >= 4 / 20
    delays = [delay_before(attempt, OSError()) for attempt in range(1, 20)]
    assert all(0.005 * 2**n <= delay <= 0.01 * 2**n for n, delay in enumerate(delays[:10]))
    assert max(delays) <= 60

    class Busy(OSError):
        headers = {"Retry-After": "7"}  # noqa: RUF012

    assert delay_before(1, Busy()) == 7


def test_signatures_and_passwords_are_not_shown():
    assert shown("https://me:secret@host/a/b.tar?X-Amz-Signature=abc") == "https://host/a/b.tar"
    assert str(RemoteShard("https://host/a/b.tar?sig=1", 1, "")) == "https://host/a/b.tar"


def test_members_in_any_order_are_read_too(tmp_path, own_cache):
    folder = write_shards(tmp_path / "one", 1, 600)
    with tarfile.open(folder / "00000.tar") as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    mixed = members[::2] + members[1::2][::-1]
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for member, data in mixed:
            tar.addfile(member, io.BytesIO(data))
    here = open_source(str(folder / "00000.tar"))
    with WebServer(folder).running() as web:
        source = far(web, "00000.tar", remote_read="range")
        emptied(own_cache)
        assert all(source[index] == here[index] for index in range(0, 600, 11))


@pytest.fixture(scope="module")
def s3(shards):
    """The bucket `bucket` with the shards in `train/`, and others beside them, in a stand-in for S3."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # otherwise a machine's credentials are waited for
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for file in shards.glob("*.tar"):
            client.upload_file(str(file), "bucket", f"train/{file.name}")
        client.put_object(Bucket="bucket", Key="train/readme.md", Body=b"")
        for name in ("train", "test"):
            client.upload_file(str(shards / "00000.tar"), "bucket", f"splits/pairs-{name}-00000.tar")
        yield
        server.stop()


def test_shards_of_a_bucket_by_braces_by_a_pattern_and_in_a_folder(s3, local, own_cache, monkeypatch):
    for text in (f"s3://bucket/train/{PATTERN}", "s3://bucket/train/*.tar", "s3://bucket/train", "s3://bucket/train/"):
        source = open_source(text, SourceOptions(remote_read="range"))
        assert (len(source), source.describe) == (NUM, local.describe)
    emptied(own_cache)
    assert all(source[index] == local[index] for index in range(0, NUM, 50))
    assert source.name(0).startswith("s3://bucket/train/00000.tar, byte ")
    split = open_source("s3://bucket/splits", SourceOptions(split="test"))
    assert split.notes == ("split test: 1 file; left out: train 1 (data.split)",)
    for text, words in (
        ("s3://bucket/train/readme.md", "is no .tar; only tar shards are read from afar"),
        ("s3://bucket/*.tar", "no .tar is there; only tar shards"),
        ("s3://bucket/train/*.md", "no .tar is there, but readme.md; only tar shards"),
        ("s3://bucket/train/{00001..00004}.tar", "2 of the 4 shards of .* s3://bucket/train/00003.tar, .*/00004.tar"),
    ):
        with pytest.raises(UserError, match=words):
            open_source(text)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
    monkeypatch.setattr(store_module, "_systems", {})
    with pytest.raises(UserError, match=r"no credentials were found; set AWS_ACCESS_KEY_ID .* set FSSPEC_S3_ANON=1"):
        open_source("s3://bucket/train/00000.tar")


PACKAGES = {"fsspec": "https://h/0.tar", "s3fs": "s3://b/0.tar", "gcsfs": "gs://b/0", "huggingface_hub": "hf://d/u/r"}


@pytest.mark.parametrize(("package", "url"), PACKAGES.items())
def test_a_package_that_is_not_there_is_one_line_that_installs_it(package, url, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(store_module, "_systems", {})
    with pytest.raises(UserError, match=rf"needs {package}, not installed; pip install 'askew\[remote\]'"):
        open_source(url)
