"""`askew push` against a stand-in for the Hub: every file arrives, in one commit; what it refuses is one line."""

import socket

import pytest
from hub_standin import TOKEN, hub_of_this_machine
from standins import micro_model

from micro_runs import askew_here


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of this machine, where ada is logged in."""
    with hub_of_this_machine() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with random weights."""
    return micro_model(tmp_path_factory.mktemp("pushed") / "model")


def push(model, *arguments: str):
    return askew_here("push", model, *arguments, "--samples", "3")


def refused(model, *arguments: str) -> str:
    """The one line of a push that fails."""
    done = push(model, *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return line


def test_every_file_arrives_in_one_commit(hub, model, tmp_path):
    done = push(model, "ada/tiny", "--private")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "tiny"
    assert askew_here("export", model, "--to", "open_clip", "--out", out, "--samples", "3").returncode == 0
    written = {file.name: file.read_bytes() for file in out.iterdir()}
    found = {name: content for name, content in hub.files["ada/tiny"].items() if name != ".gitattributes"}
    assert found == written
    assert {"README.md", "open_clip_config.json", "open_clip_model.safetensors"} <= found.keys()
    assert hub.private["ada/tiny"]
    [(header, operations)] = hub.commits
    assert header["summary"] == "askew push --to open_clip"
    assert operations == len(written)
    assert f"pushed   {hub.endpoint}/ada/tiny: {len(written)} files in commit" in done.stderr


def test_a_repository_with_files_is_replaced_only_where_that_is_asked_for(hub, model):
    hub.add("ada/tiny", README__md=b"old", old__bin=b"old")
    line = refused(model, "ada/tiny")
    assert f"ada/tiny is on {hub.endpoint} already, with 2 files" in line
    assert "--overwrite" in line
    assert hub.commits == []
    assert push(model, "ada/tiny", "--overwrite").returncode == 0
    assert "old.bin" not in hub.files["ada/tiny"]
    assert hub.files["ada/tiny"]["README.md"] != b"old"
    [(header, _)] = hub.commits
    assert header["parentCommit"] == "0" * 40


def test_an_empty_repository_is_filled(hub, model):
    hub.add("ada/tiny")
    assert push(model, "ada/tiny").returncode == 0
    assert "open_clip_model.safetensors" in hub.files["ada/tiny"]


def test_a_public_repository_does_not_become_private(hub, model):
    hub.add("ada/tiny")
    assert "already, and public" in refused(model, "ada/tiny", "--private")


def test_nobody_is_logged_in(hub, model, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    line = refused(model, "ada/tiny")
    assert f"nobody is logged in to {hub.endpoint}; log in with `hf auth login`, or set HF_TOKEN" in line


def test_a_token_that_the_hub_does_not_know(hub, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    line = refused(model, "ada/tiny")
    assert "refuses ada/tiny (401: Invalid user token." in line
    assert "hf auth login" in line
    assert "hf_old" not in line


def test_a_name_of_somebody_else(hub, model):
    hub.denied.add("bob")
    line = refused(model, "bob/tiny")
    assert "refuses bob/tiny (403: You don't have the rights to create a model under bob)" in line
    assert "use a token with write access to bob" in line
    assert hub.files == {}


@pytest.mark.parametrize(("name", "words"), [("tiny", "write OWNER/NAME"), ("ada/a b", "Repo id must")])
def test_a_name_that_is_none(hub, model, name, words):
    assert words in refused(model, name)


def test_a_hub_that_cannot_be_reached(hub, model, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    line = refused(model, "ada/tiny")
    assert f"http://127.0.0.1:{port} cannot be reached" in line
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(model, "ada/tiny")
