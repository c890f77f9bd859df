"""A Hugging Face hub and a ModelScope in one process on loopback, as far as their clients ask, with faults on demand.

The routes and headers are those that huggingface_hub 2.4 and modelscope-hub 0.5 use. Large files are redirected to a
"CDN" path with ranges, as the real hub does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_LFS_FROM_BYTES = 1 << 20


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class FakeHub:
    """Repos to serve, faults to show, and a record of what was asked. Change it between requests as a test needs."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.heads: dict[str, str] = {}
        self.token: str | None = None
        self.gated: set[str] = set()
        self.bytes_per_second: float | None = None
        self.cut_after: dict[str, list[int]] = {}
        self.refuse: dict[str, list[tuple[int, str | None]]] = {}
        self.ignore_ranges = False
        self.serve_instead: dict[str, bytes] = {}
        self.listed_size: dict[str, int] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent_bytes: Counter[str] = Counter()
        self.models: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.cdn_blobs: dict[str, bytes] = {}
        self.spoil_uploads = False
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Another name, as the real CDN has one: clients do not ask for metadata there, and send no token.
        self.cdn = f"http://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def publish(self, repo: str, files: dict[str, bytes]) -> str:
        """Make a commit with exactly these files the head of a repo's main; return it."""
        digest = hashlib.sha1(repo.encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        commit = digest.hexdigest()
        self.repos.setdefault(repo, {})[commit] = dict(files)
        self.heads[repo] = commit
        return commit

    def asked(self, text: str) -> int:
        """How many requests had this in their path."""
        return sum(text in path for _, path, _ in self.requests)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, document: Any = None, **headers: str) -> None:
        body = json.dumps(document if document is not None else {}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, parts = self.owner, urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        for wanted, refusals in hub.refuse.items():
            if wanted in path and refusals:
                status, retry_after = refusals.pop(0)
                return self._answer(status, {"error": "no"}, **({"Retry_After": retry_after} if retry_after else {}))
        if path.startswith(("/openapi/", "/api/v1/")):
            return self._modelscope_get(path)
        if path.startswith("/cdn/"):
            if self.headers.get("Authorization"):
                return self._answer(400, {"error": "a token came to the CDN"})
            return self._send_file(path[5:].rpartition("/")[0], hub.cdn_blobs[path.rpartition("/")[2]])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            repo, commit = self._commit(*match.groups())
            if commit:
                self._answer(200, {"id": repo, "modelId": repo, "sha": commit, "siblings": [], "tags": []})
            return None
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            repo, commit = self._commit(*match.groups())
            if commit:
                assert query.get("recursive"), "the whole tree is asked for at once"
                self._answer(200, [self._entry(*each) for each in sorted(hub.repos[repo][commit].items())])
            return None
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*match.groups())
        return self._answer(404, {"error": "not found"})

    def _commit(self, repo: str, revision: str) -> tuple[str, str]:
        hub = self.owner
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, {"error": "Invalid username or password."})
        elif repo not in hub.repos:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif repo in hub.gated:
            self._answer(403, {"error": "gated"}, X_Error_Code="GatedRepo")
        else:
            commit = hub.heads[repo] if revision == "main" else revision
            if commit in hub.repos[repo]:
                return repo, commit
            self._answer(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
        return repo, ""

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        size = self.owner.listed_size.get(path, len(content))
        entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": git_blob_id(content)}
        if len(content) >= _LFS_FROM_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        repo, commit = self._commit(repo, revision)
        if not commit:
            return None
        content = self.owner.repos[repo][commit].get(path)
        if content is None:
            return self._answer(404, {"error": "no"}, X_Error_Code="EntryNotFound")
        digest = hashlib.sha256(content).hexdigest()
        if len(content) >= _LFS_FROM_BYTES:
            self.owner.cdn_blobs[digest] = self.owner.serve_instead.get(path, content)
            return self._answer(
                302, Location=f"{self.owner.cdn}/cdn/{path}/{digest}", X_Repo_Commit=commit,
                X_Linked_Etag=f'"{digest}"', X_Linked_Size=str(len(content)),
            )  # fmt: skip
        served = self.owner.serve_instead.get(path, content)
        return self._send_file(path, served, X_Repo_Commit=commit, ETag=f'"{git_blob_id(content)}"')

    def _send_file(self, name: str, content: bytes, **headers: str) -> None:
        hub, start, status = self.owner, 0, 200
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match and not hub.ignore_ranges:
            start, status = int(match[1]), 206
            if start >= len(content):
                return self._answer(416, Content_Range=f"bytes */{len(content)}")
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return None
        cuts = hub.cut_after.get(name, [])
        limit = start + cuts.pop(0) if cuts else len(content)
        position = start
        while position < min(limit, len(content)):
            chunk = content[position : min(position + (256 << 10), limit)]
            self.wfile.write(chunk)
            position += len(chunk)
            hub.sent_bytes[name] += len(chunk)
            if hub.bytes_per_second:
                time.sleep(len(chunk) / hub.bytes_per_second)
        if limit < len(content):
            self.close_connection = True
            self.connection.close()
        return None

    # ModelScope

    def _modelscope_get(self, path: str) -> None:
        if match := re.fullmatch(r"/(?:openapi/v1|api/v1)/models/([^/]+/[^/]+)(/repo/files)?", path):
            model = self.owner.models.get(match[1])
            if model is None or (model["private"] and not self._may_write()):
                return self._answer(404, {"Code": 10010205001, "Message": "model not exists", "Success": False})
            if match[2]:
                files = [
                    {"Path": name, "Name": name.rpartition("/")[2], "Size": len(content), "Type": "blob",
                     "Sha256": hashlib.sha256(content).hexdigest()}
                    for name, content in model["files"].items()
                ]  # fmt: skip
                return self._answer(200, {"Code": 200, "Success": True, "Data": {"Files": files}})
            data = {"id": match[1], "owner": match[1].split("/")[0], "name": match[1].split("/")[1]}
            return self._answer(200, {"Code": 200, "success": True, "Success": True, "data": data, "Data": data})
        return self._answer(404)

    def _may_write(self) -> bool:
        return "ms-token" in (self.headers.get("Authorization") or "") + (self.headers.get("Cookie") or "")

    def do_POST(self) -> None:
        hub, path, body = self.owner, unquote(urlsplit(self.path).path), json.loads(self._body() or b"{}")
        hub.requests.append(("POST", path, None))
        if not self._may_write():
            return self._answer(401, {"Code": 401, "Message": "no token", "Success": False})
        if path == "/api/v1/models":
            name = f"{body['Path']}/{body['Name']}"
            if name in hub.models:
                return self._answer(400, {"Code": 400, "Message": "already exists", "Success": False})
            hub.models[name] = {
                "private": body["Visibility"] == 1, "license": body["License"],
                "files": {".gitattributes": b"*.bin filter=lfs\n", "README.md": b"made by the hub\n"},
            }  # fmt: skip
            return self._answer(
                200, {"Code": 200, "Success": True, "Data": {"Path": body["Path"], "Name": body["Name"]}}
            )
        if match := re.fullmatch(r"/api/v1/repos/models/([^/]+/[^/]+)/info/lfs/objects/batch", path):
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.url}/put/{each['oid']}"}}}
                for each in body["objects"]
                if each["oid"] not in hub.blobs
            ]
            return self._answer(200, {"Code": 200, "Success": True, "Data": {"objects": objects}})
        if match := re.fullmatch(r"/api/v1/repos/models/([^/]+/[^/]+)/commit/master", path):
            files = hub.models[match[1]]["files"]
            for action in body["actions"]:
                lfs = action["type"] == "lfs"
                files[action["path"]] = hub.blobs[action["sha256"]] if lfs else base64.b64decode(action["content"])
            return self._answer(200, {"Code": 200, "Success": True, "Data": {"Id": "c" * 40}})
        return self._answer(404)

    def do_PUT(self) -> None:
        hub, oid, content = self.owner, self.path.rpartition("/")[2], self._body()
        hub.requests.append(("PUT", self.path, None))
        hub.blobs[oid] = content[:-1] + b"?" if hub.spoil_uploads else content
        self._answer(200, {"Code": 200})
