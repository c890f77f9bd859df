"""Every text of the pages, in English and 中文: one module a page, each text with both languages side by side."""

from __future__ import annotations

from api.texts import caches, common, fleet, operations, rules

LANGUAGES = ("en", "zh")
_PAIRS = {**common.TEXTS, **fleet.TEXTS, **caches.TEXTS, **operations.TEXTS}

TEXTS: dict[str, dict[str, str]] = {
    language: {name: pair[place] for name, pair in _PAIRS.items()} for place, language in enumerate(LANGUAGES)
}
RULES: dict[str, dict[str, str]] = {
    language: {name: pair[place] for name, pair in rules.TEXTS.items()} for place, language in enumerate(LANGUAGES)
}
"""What each rule of ``core.warmup`` means, in a sentence; the reason beside it gives the particulars."""


def language_of(wished: str, accept_language: str) -> str:
    """Given a choice in the address and the browser's header, return ``zh`` or ``en``."""
    if wished in TEXTS:
        return wished
    best, best_weight = "en", 0.0
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        try:
            weight = float(parameters.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        language = tag.lower().split("-")[0]
        if language in TEXTS and weight > best_weight:
            best, best_weight = language, weight
    return best
