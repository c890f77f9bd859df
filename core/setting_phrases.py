"""What is wrong with a configuration, and why the daemon does not start or stop: (English, 中文).

The log has the English; people read either, by ``core.error_words``.
"""

from __future__ import annotations

from core.phrases import Phrasebook

BOOK = Phrasebook(shapes={})
_phrase = BOOK.phrase

IS_NEEDED = _phrase("is needed", "必须设置")
