"""``ComfyUIClient``: generate images on a ComfyUI server, wait for them, keep their cache clean.

    client = ComfyUIClient()
    prompt_id = client.generate_image(prompt="a beautiful landscape", width=512, height=512)
    print(client.wait(prompt_id).files)

Everything that goes wrong is raised as an error of ``core/errors.py``. One client may serve many threads.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from client.blocking_server import BlockingServer
from client.collect import collect
from client.follow import Progress, Report, Step, follow
from client.image_store import StoredTask, checked_task_id, find_task
from client.template_files import load_template
from client.terminal import shown_on_terminal
from core import reason_phrases as say
from core import workflow_phrases as wrong
from core.errors import Busy, ConfigError, ImageCacheError, Problem, ServerError
from core.fleet import Secret
from core.outputs import NOTE
from core.settings import Invalid, server_url
from core.template import DEFAULTS, Template, fill, recorded

if TYPE_CHECKING:
    from cleaner import CacheCleaner
    from config import Settings

log = logging.getLogger("client")

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TEMPLATE = ROOT / "examples" / "text_to_image.mapping.json"

LARGEST_RANDOM_SEED = 2**53 - 1
"""Above this a program that reads JSON numbers as doubles would show another seed than was used."""

_NAMES_A_SECRET = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


class ComfyUIClient:
    """Generates images on one server and stores them in the image cache.

    ``server_address`` is ``127.0.0.1:8188`` or a whole address; without it the first configured server, with
    its headers. ``template`` is a mapping file (see ``core/template.py``). ``image_cache_dir`` stands in for
    IMAGE_CACHE_DIR. The settings are read when they are first needed. Raises ConfigError for a bad address.
    """

    def __init__(
        self,
        server_address: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        template: str | os.PathLike[str] = DEFAULT_TEMPLATE,
        image_cache_dir: str | os.PathLike[str] | None = None,
        connect_timeout_seconds: float = 3.0,
        answer_timeout_seconds: float = 30.0,
    ) -> None:
        try:
            self._url = None if server_address is None else server_url(server_address)
        except Invalid as invalid:
            raise ConfigError([Problem("server_address", str(server_address), str(invalid))]) from None
        self._headers = dict(headers or {})
        self._template_path = Path(template)
        self._image_cache_dir = None if image_cache_dir is None else Path(image_cache_dir).absolute()
        self._connect_seconds, self._answer_seconds = connect_timeout_seconds, answer_timeout_seconds
        self._client_id = str(uuid.uuid4())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        if "_server" in self.__dict__:
            self._server.close()

    @property
    def server_address(self) -> str:
        return self._server.url

    def generate_image(
        self,
        prompt: str,
        negative_prompt: str = "",
        width: int = 512,
        height: int = 512,
        batch_size: int = 1,
        steps: int = 20,
        cfg: float = 7.0,
        seed: int | None = None,
        **overrides: Any,
    ) -> str:
        """Submit one generation and return its prompt id; sizes in pixels, a random seed when None.

        ``overrides`` set any other input of the template: ``**{"95.sampler_name": "euler"}``. Raises
        WorkflowError before anything is sent, PromptRejected with the server's words, Unreachable, or Busy
        when it is unknown whether the server took the prompt.
        """
        template = self._template
        if seed is None and "seed" in template.places:
            seed = random.randint(0, min(template.largest_seed, LARGEST_RANDOM_SEED))
        values = (prompt, negative_prompt, width, height, batch_size, steps, cfg, seed)
        graph = fill(template, dict(zip(DEFAULTS, values, strict=True)), overrides)
        note = {**recorded(template, graph), "image_nodes": list(template.image_nodes)}
        self._auto_clean()
        prompt_id = str(uuid.uuid4())
        try:
            self._server.submit(graph, prompt_id=prompt_id, client_id=self._client_id, extra_data={NOTE: note})
        except Busy as busy:
            # ComfyUI executes what it has received even when nobody waits for the answer.
            if not self._is_known(prompt_id):
                raise Busy(say.also(str(busy), say.MAY_STILL_TAKE(prompt=prompt_id))) from None
        log.info("submitted prompt_id=%s server=%s seed=%s", prompt_id, self.server_address, note.get("seed"))
        return prompt_id

    def wait(
        self,
        prompt_id: str,
        task_id: str | None = None,
        timeout_seconds: float = 600.0,
        progress: Report | None = None,
    ) -> StoredTask:
        """Follow a prompt to its end and store its images; return where they are.

        ``task_id`` names their directory (default: the prompt id). ``progress`` is called with a Progress at
        every look; without it a terminal shows a bar. Waiting again for what is stored returns it at once. Any
        process may wait for a prompt, not only the one that submitted it. Raises GenerationFailed, PromptLost,
        ImageMissing, StillRunning, ImageCacheError or a ServerError; none of them leaves a part behind.
        """
        task_id = checked_task_id(prompt_id if task_id is None else task_id)
        if (stored := self._stored(task_id, prompt_id)) is not None:
            return stored
        with nullcontext(progress) if progress else shown_on_terminal(self._chinese()) as report:
            began = time.monotonic()
            document = follow(self._server, prompt_id, timeout_seconds, report)
            try:
                stored = collect(self._server, document, prompt_id, task_id, self._images_root(), report)
            except ImageCacheError:
                # Another process may have waited for the same prompt, and was faster.
                if (stored := self._stored(task_id, prompt_id)) is None:
                    raise
            images = len(stored.files)
            report(Progress(Step.DONE, time.monotonic() - began, stored=images, images=images))
        log.info("stored prompt_id=%s task_id=%s images=%d", prompt_id, task_id, images)
        return stored

    def get_cache_info(self, days_threshold: float = 1) -> dict[str, int]:
        """Return what is in the image cache and what of it is older than ``days_threshold`` days, in bytes."""
        return self._cleaner().get_cache_info(days_threshold)

    def clean_old_cache(self, days_threshold: float = 1, dry_run: bool = False) -> dict[str, int]:
        """Delete what is older than ``days_threshold`` days; return what went. Raises RefusedTarget, TargetBusy."""
        return self._cleaner().clean_old_cache(days_threshold, dry_run)

    def auto_clean_cache(self, days_threshold: float = 1, check_interval_hours: float = 24) -> dict[str, int] | None:
        """Clean when the last unattended cleaning is that long ago, also over restarts; None when it is not due."""
        return self._cleaner().auto_clean_cache(days_threshold, check_interval_hours)

    @cached_property
    def _settings(self) -> Settings:
        import config

        return config.load(ROOT)

    @cached_property
    def _server(self) -> BlockingServer:
        url, headers, verify_tls = self._url, self._headers, True
        secrets = [Secret(value) for name, value in headers.items() if _NAMES_A_SECRET.search(name)]
        if url is None:
            if not self._settings.servers:
                raise ConfigError([Problem("SERVERS", "", wrong.NO_SERVER())])
            server = self._settings.servers[0]
            url, verify_tls = server.url, server.group.verify_tls
            headers = {name: secret.reveal() for name, secret in server.group.headers} | headers
            secrets += server.group.secrets
        return BlockingServer(
            url,
            headers,
            secrets=secrets,
            verify_tls=verify_tls,
            connect_timeout_seconds=self._connect_seconds,
            answer_timeout_seconds=self._answer_seconds,
        )

    @cached_property
    def _template(self) -> Template:
        return load_template(self._template_path)

    def _chinese(self) -> bool:
        import config

        return config.prefers_chinese()

    def _images_root(self) -> Path:
        return self._image_cache_dir or self._settings.image_cache_dir

    def _cleaner(self) -> CacheCleaner:
        from cleaner import CacheCleaner

        return CacheCleaner(self._image_cache_dir)

    def _auto_clean(self) -> None:
        try:
            if (days := self._settings.clean_days) is not None:
                self.auto_clean_cache(days)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with the cleaning, the image was asked for)
            log.warning("auto-clean failed, the generation goes on: %s", error)

    def _is_known(self, prompt_id: str) -> bool:
        try:
            return self._server.queue().find(prompt_id) is not None or bool(self._server.history(prompt_id))
        except ServerError:
            return False

    def _stored(self, task_id: str, prompt_id: str) -> StoredTask | None:
        stored = find_task(self._images_root(), task_id)
        if stored is not None and stored.record.get("prompt_id") != prompt_id:
            raise ImageCacheError(wrong.OTHER_PROMPT(path=stored.directory))
        return stored
