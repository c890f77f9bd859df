"""Fetches a finished prompt's images and stores them as one task."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from client.blocking_server import BlockingServer
from client.follow import Progress, Report, Step
from client.image_store import StoredTask, incoming_task
from core import workflow_phrases as say
from core.errors import Busy, GenerationFailed, ImageMissing, NoSuchRoute, Unreachable
from core.outputs import OutputImage, parse_images, parse_note, wanted_images
from core.template import DEFAULTS

DOWNLOAD_ATTEMPTS = 3


def collect(
    server: BlockingServer, document: object, prompt_id: str, task_id: str, images_root: Path, report: Report
) -> StoredTask:
    """Given the JSON of a successful prompt's history, fetch and store all its images.

    Raises GenerationFailed when it made none, ImageMissing, ImageCacheError or a ServerError; then nothing is stored.
    """
    began = time.monotonic()
    note = parse_note(document, prompt_id)
    nodes = [node_id for node_id in note.get("image_nodes") or () if isinstance(node_id, str)]
    images = wanted_images(parse_images(document, prompt_id), nodes)
    if not images:
        where = say.NO_IMAGE_IN(prompt=prompt_id, nodes=", ".join(nodes)) if nodes else say.NO_IMAGE(prompt=prompt_id)
        raise GenerationFailed(where, prompt_id)
    when = datetime.now().astimezone()
    entries = []
    with incoming_task(images_root, task_id, when) as incoming:
        for number, image in enumerate(images):
            report(Progress(Step.STORING, time.monotonic() - began, stored=number, images=len(images)))
            name = f"{number}{_suffix(image.filename)}"
            with incoming.file(name) as file:
                size_bytes = _download(server, image, file, prompt_id)
            source = "/".join(part for part in (image.kind, image.subfolder, image.filename) if part)
            entries.append({"file": name, "bytes": size_bytes, "node": image.node_id, "source": source})
        record = {
            "task_id": task_id,
            "prompt_id": prompt_id,
            "server": server.url,
            "time": when.isoformat(timespec="seconds"),
            **{name: note[name] for name in DEFAULTS if name in note},
            "images": entries,
        }
        return incoming.publish(record)


def _download(server: BlockingServer, image: OutputImage, file: BinaryIO, prompt_id: str) -> int:
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        try:
            return server.download(image, file)
        except NoSuchRoute:
            said = say.IMAGE_GONE(url=server.url, image=image.filename, prompt=prompt_id)
            raise ImageMissing(said, prompt_id) from None
        except (Busy, Unreachable):
            # The next prompt in its queue may be loading a model just now.
            if attempt == DOWNLOAD_ATTEMPTS:
                raise
            file.seek(0)
            file.truncate()
    raise AssertionError("the last attempt returns or raises")


def _suffix(filename: str) -> str:
    suffix = Path(filename).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ".png"
