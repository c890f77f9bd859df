"""Reads a template's mapping file and the workflow beside it."""

from __future__ import annotations

import json
from pathlib import Path

from core import workflow_phrases as say
from core.errors import WorkflowError
from core.template import Template, read_template
from core.workflow import read_graph

MAX_FILE_BYTES = 16 << 20


def load_template(path: Path) -> Template:
    """Given a mapping file, return its template; raises WorkflowError naming the file and what is wrong."""
    mapping = _read_json(path)
    workflow = mapping.get("workflow") if isinstance(mapping, dict) else None
    if not isinstance(workflow, str) or not workflow:
        raise WorkflowError(say.NO_WORKFLOW_NAMED(path=path))
    beside = path.parent / workflow
    try:
        graph = read_graph(_read_json(beside))
    except WorkflowError as error:
        raise WorkflowError(say.IN_FILE(file=beside, flaw=error)) from None
    try:
        return read_template(mapping, graph)
    except WorkflowError as error:
        raise WorkflowError(say.IN_FILE(file=path, flaw=error)) from None


def _read_json(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WorkflowError(say.TOO_LARGE(path=path, mebibytes=MAX_FILE_BYTES >> 20))
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise WorkflowError(say.NOT_READ(path=path, words=error.strerror or error)) from None
    except (ValueError, RecursionError) as error:
        raise WorkflowError(say.NO_JSON(path=path, words=error)) from None
