"""scripts/install_chromium.sh, with an apt-get of our own: nothing is installed here."""

import shutil
import subprocess

import pytest
from opened import SCRIPT

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")


@pytest.fixture
def machine(tmp_path):
    """Runs the script where nothing but the given programs can be called. Each is the text of a shell script."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "env").symlink_to(shutil.which("env"))
    for tool in ("cp", "sh", "true"):
        (programs / tool).symlink_to(shutil.which(tool))

    def run(*arguments, programs_there=(), **environment):
        for name, text in dict(programs_there).items():
            (programs / name).write_text(f"#!{shutil.which('sh')}\n{text}\n")
            (programs / name).chmod(0o755)
        command = [shutil.which("sh"), str(SCRIPT), *arguments]
        return subprocess.run(command, env={"PATH": str(programs), **environment}, capture_output=True, text=True)

    run.folder = programs
    return run


APT = 'echo "$@" >> "${0%/*}/asked"\ncase "$*" in *install*) cp "$0" "${0%/*}/chromium" ;; esac'
ROOT = {"id": "echo 0", "apt-get": APT}
USER = {"id": "echo 1000", "apt-get": APT}


def test_a_browser_that_is_there_is_taken(machine):
    there = {"id": "echo 0", "apt-get": "exit 1", "google-chrome": ""}
    found = machine("--find", programs_there=there)
    assert (found.returncode, found.stdout) == (0, f"{machine.folder / 'google-chrome'}\n")
    done = machine(programs_there=there)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_root_installs_it_once(machine):
    first, second = machine(programs_there=ROOT), machine()
    assert (first.returncode, second.returncode) == (0, 0)
    assert (first.stderr, second.stderr) == ("installing chromium for the browser tests, once\n", "")
    update, install = (machine.folder / "asked").read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install -y --no-install-recommends chromium fonts-dejavu-core")


def test_a_user_installs_it_with_sudo_if_that_needs_no_password(machine):
    assert machine(programs_there={**USER, "sudo": 'shift\nexec "$@"'}).returncode == 0
    assert machine("--find").stdout.endswith("/chromium\n")


@pytest.mark.parametrize(
    "programs",
    [
        {},
        USER,
        {**USER, "sudo": "exit 1"},
        {"id": "echo 0", "apt-get": "exit 100"},
        {"id": "echo 0", "apt-get": ""},  # a distribution whose package brings no program of this name
    ],
    ids=["no apt", "no sudo", "sudo asks", "no network", "nothing came"],
)
def test_where_it_cannot_be_installed_one_line_says_what_to_do(machine, programs):
    programs = {"id": "echo 1000", **programs}
    optional, needed = machine(programs_there=programs), machine(ASKEW_NEEDS_CHROMIUM="1")
    assert (optional.returncode, needed.returncode) == (0, 1)
    assert "install Debian's package chromium, or set CHROMIUM" in optional.stderr.splitlines()[-1]
    assert needed.stderr == optional.stderr


def test_a_browser_that_is_named_is_the_only_one(machine, tmp_path):
    named = tmp_path / "my chrome"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert machine("--find", CHROMIUM=str(named)).stdout == f"{named}\n"
    gone = machine(programs_there=ROOT, CHROMIUM="/gone/chrome", ASKEW_NEEDS_CHROMIUM="1")
    assert gone.returncode == 1
    assert "/gone/chrome" in gone.stderr
    assert not (machine.folder / "asked").exists()
