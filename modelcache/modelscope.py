"""ModelScope as the target of a transfer: list, create, upload. The only importer of modelscope_hub (0.2 s, 40 MB).

What the client does by itself and must not decide here: ``upload_folder`` creates a missing repo as public under
Apache-2.0, so the repo is created before, with what was asked for; and it trusts a cache of what it has uploaded, even
when the other side was wiped, so that cache stays off: what is there already is found by the listing, and what is
stored already by its hash, file by file.
"""

from __future__ import annotations

import glob
import io
import logging
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from core.errors import HubError, ModelError
from core.models import words as say
from core.models.transfer import RemoteFile
from core.reason_phrases import also
from core.secret import Secret

Result = TypeVar("Result")

BRANCH = "master"


class ModelScope:
    """One endpoint with one token. Raises HubError for what the hub refuses, ModelError without the client library.

    ``state_dir`` is where the client keeps its own identifier: never the credentials of a stored login.
    """

    def __init__(self, endpoint: str, token: Secret | None, state_dir: Path) -> None:
        self.endpoint = endpoint
        self._token = token
        try:
            self._library: Any = import_module("modelscope_hub")
            config: Any = import_module("modelscope_hub.config")
            self._errors: Any = import_module("modelscope_hub.errors")
        except ImportError:
            raise ModelError(say.NO_LIBRARY(library="modelscope-hub")) from None
        logging.getLogger("modelscope_hub").setLevel(logging.WARNING)
        settings = config.HubConfig(
            endpoint=endpoint, token=token.reveal() if token else "", config_dir=state_dir / "modelscope"
        )
        self._api: Any = self._library.HubApi(settings)

    def files(self, repo: str) -> list[RemoteFile] | None:
        """Return what the repo holds on its branch, None when there is no such repo."""

        def ask() -> list[RemoteFile] | None:
            try:
                self._api.get_repo(repo, "model")
                listed = self._api.list_repo_files(repo, "model", revision=BRANCH, recursive=True)
            except self._errors.NotExistError:
                return None
            return [
                RemoteFile(each.path, each.size, each.sha256, each.blob_id) for each in listed if each.type != "tree"
            ]

        return self._explaining(repo, ask)

    def create(self, repo: str, visibility: str, licence: str) -> None:
        """Create the repo; ``visibility`` is ``private`` or ``public``."""
        self._need_token(repo)
        self._explaining(repo, lambda: self._api.create_repo(repo, "model", visibility=visibility, license=licence))

    def upload(self, repo: str, directory: Path, paths: Iterable[str], advance: Callable[[int], None]) -> None:
        """Upload these files of a directory; ``advance`` is told the bytes that the other side has so far."""
        self._need_token(repo)

        def report(event: dict[str, Any]) -> None:
            advance(max(int(event.get("uploaded_bytes") or 0), int(event.get("committed_bytes") or 0)))

        def upload() -> None:
            # It prints a report of its own, and stdout may be JSON.
            with redirect_stdout(io.StringIO()):
                self._api.upload_folder(
                    repo,
                    "model",
                    directory,
                    allow_patterns=[glob.escape(path) for path in paths],
                    commit_message="Transfer",
                    revision=BRANCH,
                    use_cache=False,
                    disable_tqdm=True,
                    progress_callback=report,
                )

        self._explaining(repo, upload)

    def _need_token(self, repo: str) -> None:
        if self._token is None:
            raise HubError(say.NO_TOKEN(endpoint=self.endpoint, repo=repo), 401)

    def _explaining(self, repo: str, ask: Callable[[], Result]) -> Result:
        try:
            return ask()
        except (self._errors.HubError, OSError, ValueError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:300]
            detail = self._token.masked_in(detail) if self._token else detail
            status = getattr(error, "status_code", None)
            if isinstance(error, self._errors.AuthenticationError) or status in (401, 403):
                raise HubError(say.REFUSED(endpoint=self.endpoint, repo=repo, why=detail), status) from None
            failed = say.HUB_FAILED(endpoint=self.endpoint, repo=repo, answer=detail)
            raise HubError(also(failed, say.RUN_AGAIN()), status) from None
