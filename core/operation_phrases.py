"""Why an operation is refused or fails, and what its caches, tasks and records lack: (English, 中文).

Records, JSON and the log have the English; people read either, by ``core.error_words``.
"""

from __future__ import annotations

from core.phrases import Phrasebook

BOOK = Phrasebook(shapes={})
_phrase = BOOK.phrase

NO_TARGET = _phrase("there is no target {name!r}; there are: {known}", "没有目标 {name}；现有：{known}")
