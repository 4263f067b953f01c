"""A stand-in for the Hugging Face Hub on this machine: what `askew push` calls, and what it then holds."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_ada"


class Hub:
    """Repositories by name. What a test may change: who may write, and what is there before.

    Attributes:
        files: of each repository, path -> contents.
        commits: the header of each commit, and how many operations it has.
        denied: owners whose repositories this token may not change.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[tuple[dict[str, Any], int]] = []
        self.denied: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.endpoint = ""

    def add(self, name: str, private: bool = False, **files: bytes) -> None:
        """A repository with files; a dot in a name is written as two underscores."""
        named = {key.replace("__", "."): value for key, value in files.items()}
        self.files[name], self.private[name] = {".gitattributes": b"", **named}, private

    def get(self, path: str) -> tuple[int, Any]:
        """The answer to a GET."""
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "ada", "orgs": [], "auth": {}}
        name = path.removeprefix("/api/models/")
        if name not in self.files:
            return 404, {"error": "Repository not found"}
        siblings = [{"rfilename": file} for file in self.files[name]]
        return 200, {"id": name, "private": self.private[name], "sha": "0" * 40, "siblings": siblings, "tags": []}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """The answer to a POST."""
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            if asked["organization"] in self.denied:
                return 403, {"error": f"You don't have the rights to create a model under {asked['organization']}"}
            name = f"{asked['organization']}/{asked['name']}"
            self.add(name, asked.get("visibility") == "private" or bool(asked.get("private")))
            return 200, {"url": f"{self.endpoint}/{name}"}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = {one["oid"]: {"upload": {"href": f"{self.endpoint}/large/{one['oid']}"}} for one in objects}
            found = [{**one, "actions": upload[one["oid"]]} for one in objects]
            return 200, {"transfer": "basic", "objects": found}
        name, action = path.removeprefix("/api/models/").removesuffix("/main").rsplit("/", 1)
        if action == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {file: "lfs" if file.endswith((".safetensors", ".onnx")) else "regular" for file in paths}
            return 200, {"files": [{"path": f, "uploadMode": modes[f], "shouldIgnore": False} for f in paths]}
        assert action == "commit", path
        return 200, self.commit(name, [json.loads(line) for line in body.splitlines()])

    def commit(self, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """Change the files as the lines of a commit say."""
        files = self.files[name]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            else:
                assert line["key"] == "deletedFile", line
                del files[value["path"]]
        self.commits.append((lines[0]["value"], len(lines) - 1))
        commit = hashlib.sha1(str(lines).encode()).hexdigest()
        return {"commitUrl": f"{self.endpoint}/{name}/commit/{commit}", "commitOid": commit}


@contextmanager
def hub_of_this_machine() -> Iterator[Hub]:
    """A Hub that answers at `endpoint` while the block runs."""
    hub = Hub()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def do_GET(self) -> None:
            self.answer(*(hub.get(self.path) if self.known() else (401, {"error": "Invalid credentials"})))

        def do_POST(self) -> None:
            body = self.body()
            self.answer(*(hub.post(self.path, body) if self.known() else (401, {"error": "Invalid credentials"})))

        def do_PUT(self) -> None:
            content = self.body()
            assert hashlib.sha256(content).hexdigest() == self.path.rsplit("/", 1)[1]
            hub.large[self.path.rsplit("/", 1)[1]] = content
            self.answer(200, {})

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests print enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
