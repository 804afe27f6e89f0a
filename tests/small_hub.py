"""A small hub on this machine, which the real client of huggingface_hub talks to."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class SmallHub(ThreadingHTTPServer):
    """Serves `owner/whole` and `owner/gated`, which shows its list of files only, from a folder at one commit.

    asked: what was asked for, in order. cut: the names of files whose next answer ends in the middle. status: an error
    that every answer is, if any. slow: seconds before every answer.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder, self.asked, self.cut, self.status, self.slow = folder, [], set(), 0, 0.0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub: SmallHub = self.server
        path = unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        time.sleep(hub.slow)
        if hub.status:
            return self._say(hub.status)
        api, _, rest = path.partition("/api/models/")
        name = "/".join((rest or api[1:]).split("/")[:2])
        if name not in ("owner/whole", "owner/gated"):
            return self._say(401, error="RepoNotFound")
        files = sorted(hub.folder.iterdir())
        if "/resolve/" in path:
            return self._say(403, error="GatedRepo") if name == "owner/gated" else self._file(path.rpartition("/")[2])
        if "/revision/" in path and path.rpartition("/")[2] not in ("main", COMMIT):
            return self._say(404, error="RevisionNotFound")
        tree = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _hash(file)} for file in files]
        about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
        return self._say(200, json.dumps(tree if "/tree/" in path else about).encode())

    def _file(self, name: str) -> None:
        hub: SmallHub = self.server
        content = (hub.folder / name).read_bytes()
        headers = {"ETag": f'"{_hash(hub.folder / name)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.command == "GET" and name in hub.cut
        if cut:
            hub.cut.remove(name)
        self._say(206 if start else 200, content[start:], cut=cut, **headers)

    def _say(self, status: int, body: bytes = b"{}", error: str = "", cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        for header, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)


def _hash(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
