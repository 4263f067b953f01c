"""What `askew push` does: an exported directory, with its model card, in one commit to the Hugging Face Hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from askew.errors import UserError, printable
from askew.export.command import ExportRequest, write_export
from askew.report.console import Console

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access (huggingface.co/settings/tokens)"
KEPT = ".gitattributes"  # the Hub's own file: which files are large


@dataclass(frozen=True)
class PushRequest:
    """What was asked for on the command line.

    Attributes:
        exported: what is exported; its `out` is not used.
        name: OWNER/NAME.
        private: a new repository is seen by its owner alone.
        overwrite: a repository that holds files is given these in their place.
    """

    exported: ExportRequest
    name: str
    private: bool = False
    overwrite: bool = False


def push(asked: PushRequest, console: Console) -> None:
    """Export into a temporary folder, make the repository if it is not there, and commit every file at once.

    HF_ENDPOINT, HF_TOKEN and the login of `hf auth login` are honoured.

    Raises:
        UserError: a name without an owner, nobody is logged in, the Hub cannot be reached or refuses, or the repository
            holds files; or as
            `write_export`.
    """
    if find_spec("huggingface_hub") is None:
        raise UserError("push: huggingface_hub is not installed; pip install 'askew[export]'")
    _check_name(asked.name)
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="askew")
    if not get_token():
        raise UserError(f"push: nobody is logged in to {api.endpoint}; {LOG_IN}")
    with _answering(api, asked.name):
        found = _repository(api, asked)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / asked.name.partition("/")[2]
        write_export(replace(asked.exported, out=folder), console)
        console.say(f"pushing  to {api.endpoint}/{asked.name}")
        with _answering(api, asked.name):
            url, commit, number = _commit(api, asked, folder, found)
    console.say(f"pushed   {url}: {number} files in commit {commit[:8]}")


def _check_name(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if name.count("/") != 1:
        raise UserError(f"push: {printable(name)} is no name of a repository; write OWNER/NAME, where the owner is you "
                        "or an organisation of yours")  # fmt: skip
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"push: {printable(str(error), 300)}") from error


def _repository(api: "HfApi", asked: PushRequest) -> "ModelInfo | None":
    """What is on the Hub under the name; None if nothing is."""
    from huggingface_hub.errors import RepositoryNotFoundError

    api.whoami()
    try:
        found = api.model_info(asked.name)
    except RepositoryNotFoundError:
        return None
    files = _files(found)
    if files and not asked.overwrite:
        raise UserError(f"push: {asked.name} is on {api.endpoint} already, with {len(files):,} files; push to another "
                        "name, or replace them all with --overwrite")  # fmt: skip
    if asked.private and not found.private:
        raise UserError(f"push --private: {asked.name} is on {api.endpoint} already, and public; make it private in "
                        "its settings there, or leave --private out")  # fmt: skip
    return found


def _files(found: "ModelInfo | None") -> list[str]:
    siblings = [] if found is None else found.siblings or []
    return [sibling.rfilename for sibling in siblings if sibling.rfilename != KEPT]


def _commit(api: "HfApi", asked: PushRequest, folder: Path, found: "ModelInfo | None") -> tuple[str, str, int]:
    """The address, the commit, and the number of files."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if found is None:
        api.create_repo(asked.name, private=asked.private)
    changes = [
        *(CommitOperationAdd(name, path) for name, path in paths.items()),
        *(CommitOperationDelete(name, is_folder=False) for name in _files(found) if name not in paths),
    ]
    made = api.create_commit(
        asked.name,
        changes,
        commit_message=f"askew push --to {asked.exported.to}",
        parent_commit=None if found is None else found.sha,  # refused if somebody else has committed meanwhile
    )
    return f"{api.endpoint}/{asked.name}", made.oid, len(paths)


@contextmanager
def _answering(api: "HfApi", name: str) -> Iterator[None]:
    """Turn what the Hub refuses, or a Hub that is not there, into one line.

    Raises:
        UserError: in place of what huggingface_hub raises.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    unreachable: Any = (
        OSError,
        *HfHubHTTPError.__bases__,
    )  # the HTTP client's own errors: of httpx, or requests before
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = " ".join(str(error.server_message or error).split())
        remedy = {401: LOG_IN, 403: f"use a token with write access to {name.partition('/')[0]}"}
        raise UserError(
            f"push: {api.endpoint} refuses {name} ({status}: {printable(said, 200)}); "
            f"{remedy.get(status, 'no file was changed; push again later')}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UserError("push: HF_HUB_OFFLINE is set, so nothing can be sent; unset it") from error
    except unreachable as error:  # type: ignore[misc]
        raise UserError(
            f"push: {api.endpoint} cannot be reached ({printable(' '.join(str(error).split()), 200)}); "
            "check the network and HF_ENDPOINT"
        ) from error
