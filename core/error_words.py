"""What errors say, in the language of who reads them.

An error's text is English, as the log, the records and programs have it, and is made of the phrases of its subject:
``core.setting_phrases``, ``core.operation_phrases``, ``core.reason_phrases``, ``core.cleaning_phrases``,
``core.models.words``, ``core.workflow_phrases``. Whoever shows it to a person asks here.
"""

from __future__ import annotations

from functools import lru_cache

from core import cleaning_phrases, operation_phrases, reason_phrases, setting_phrases, workflow_phrases
from core.models import words

_BOOKS = (
    setting_phrases.BOOK,
    workflow_phrases.BOOK,
    operation_phrases.BOOK,
    cleaning_phrases.BOOK,
    words.BOOK,
    reason_phrases.BOOK,
)


def error_text(error: Exception | str, *, chinese: bool) -> str:
    """Return what an error says, in words for people; what is none of ours, such as the system's words, as it is."""
    return "\n".join(map(_in_chinese, str(error).split("\n"))) if chinese else str(error)


@lru_cache(maxsize=256)
def _in_chinese(line: str) -> str:
    for book in _BOOKS:
        told = book.in_chinese(line)
        if told != line:
            # What follows the colon may be of another subject: a setting names a workflow, which says what it lacks.
            head, colon, tail = told.partition("：")
            return f"{head}{colon}{_in_chinese(tail)}" if tail and line.endswith(tail) else told
    return line
