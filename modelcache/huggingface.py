"""The Hugging Face hub, or a mirror: what a repo consists of, and its files. The only importer of huggingface_hub.

The import costs half a second and 34 MB, so it happens on first use.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from core.errors import HubError, ModelError
from core.models import words as say
from core.models.manifest import FileRecord, Manifest
from core.models.names import is_inside
from core.reason_phrases import also
from core.secret import Secret

_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 60.0
_SMALL_FILES_AT_ONCE = 4

Result = TypeVar("Result")


class HuggingFace:
    """One endpoint with one token. Raises HubError for what the hub refuses, ModelError without the client library."""

    def __init__(self, endpoint: str, token: Secret | None = None) -> None:
        self.endpoint = endpoint
        self._token = token
        # False: never the token of a stored login. Tokens come from the environment alone.
        self._plain_token: str | bool = token.reveal() if token else False
        self._library, self._utilities = _library()
        # The client lets the errors of its HTTP library through, and has changed that library before.
        kinds: Any = import_module("huggingface_hub.errors").HfHubHTTPError.__mro__
        self._http_error: type[Exception] = next(each for each in kinds if each.__name__ == "HTTPError")

    def resolve(self, repo: str, revision: str) -> Manifest:
        """Return what the repo holds at a revision: the commit, and each file with its size and hash."""

        repo_file: Any = import_module("huggingface_hub.hf_api").RepoFile

        def ask() -> Manifest:
            api = self._library.HfApi(endpoint=self.endpoint, token=self._plain_token)
            info = api.model_info(repo, revision=revision)
            commit = info.sha or ""
            files = [
                FileRecord(each.path, each.size, each.lfs.sha256 if each.lfs else None, each.blob_id)
                for each in api.list_repo_tree(repo, recursive=True, revision=commit)
                if isinstance(each, repo_file)
            ]
            return Manifest(repo, revision, commit, self.endpoint, tuple(files))

        wanted = self._patiently(repo, ask)
        for each in wanted.files:
            if not is_inside(each.path):
                raise HubError(say.OUTSIDE(repo=repo, path=each.path))
            if not each.content_name:
                raise HubError(say.NO_HASH(endpoint=self.endpoint, path=each.path, repo=repo))
        if not wanted.files or not wanted.commit:
            raise HubError(say.NO_FILES(endpoint=self.endpoint, repo=repo, revision=revision))
        return wanted

    def url(self, wanted: Manifest, path: str) -> str:
        """Return where one file of a commit is downloaded."""
        return str(self._library.hf_hub_url(wanted.repo, path, revision=wanted.commit, endpoint=self.endpoint))

    def headers(self) -> dict[str, str]:
        """Return what each request of ours carries; the Authorization header has the token in it."""
        return dict(self._utilities.build_hf_headers(token=self._plain_token))

    def snapshot(self, wanted: Manifest, paths: Iterable[str], directory: Path) -> None:
        """Download these files of a commit into a directory, several at once, with ``snapshot_download``."""

        def download() -> None:
            self._library.snapshot_download(
                wanted.repo,
                revision=wanted.commit,
                local_dir=directory,
                allow_patterns=[glob.escape(path) for path in paths],
                max_workers=_SMALL_FILES_AT_ONCE,
                endpoint=self.endpoint,
                token=self._plain_token,
            )

        self._patiently(wanted.repo, download)

    def _patiently(self, repo: str, ask: Callable[[], Result]) -> Result:
        for attempt in range(_ATTEMPTS):
            try:
                return ask()
            except (OSError, ValueError, self._http_error) as error:
                status, wait = _status_and_wait(error, attempt)
                if status not in (429, 500, 502, 503, 504) or attempt == _ATTEMPTS - 1:
                    raise self._explained(repo, error, status) from None
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _explained(self, repo: str, error: Exception, status: int | None) -> ModelError:
        if isinstance(error, ModelError):
            return error
        return refusal(repo, self.endpoint, status, self._masked(error))

    def _masked(self, error: Exception) -> str:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        return self._token.masked_in(text) if self._token else text


def refusal(repo: str, endpoint: str, status: int | None, detail: str) -> HubError:
    """Return the error for a hub's refusal, with what to do about it."""
    if status == 401:
        return HubError(say.NOT_SEEN(endpoint=endpoint, repo=repo), status)
    if status == 403:
        return HubError(say.FORBIDDEN(endpoint=endpoint, repo=repo), status)
    if status == 404:
        return HubError(say.NO_SUCH_FILE(endpoint=endpoint, repo=repo), status)
    if status == 429:
        return HubError(say.SLOW_DOWN(endpoint=endpoint), status)
    if status is not None:
        return HubError(say.ANSWERED(endpoint=endpoint, status=status, repo=repo, answer=detail), status)
    return HubError(also(say.NOT_ASKED(endpoint=endpoint, repo=repo, answer=detail), say.RUN_AGAIN()))


def retry_after_seconds(header: str | None, attempt: int) -> float:
    """Return how long to wait before the next attempt: what the hub asks for, else 0.5, 1, 2 … seconds."""
    try:
        wait = float(header or "")
    except ValueError:
        wait = 0.5 * 2**attempt
    return min(max(wait, 0.0), _LONGEST_WAIT_SECONDS)


def _status_and_wait(error: Exception, attempt: int) -> tuple[int | None, float]:
    response = getattr(error, "response", None)
    cause = error.__cause__
    if response is None and cause is not None:
        # LocalEntryNotFoundError hides the answer that made the client look for local files.
        response = getattr(cause, "response", None)
    status = getattr(response, "status_code", None)
    header = response.headers.get("Retry-After") if response is not None else None
    return status, retry_after_seconds(header, attempt)


def _library() -> tuple[Any, Any]:
    try:
        library, utilities = import_module("huggingface_hub"), import_module("huggingface_hub.utils")
    except ImportError:
        raise ModelError(say.NO_LIBRARY(library="huggingface_hub")) from None
    # One display on the terminal is enough, and ours also knows the large files.
    utilities.disable_progress_bars()
    utilities.logging.set_verbosity_error()
    return library, utilities
