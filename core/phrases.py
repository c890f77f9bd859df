"""Sentences that are kept in English and read in either language: each is defined once, as a pair of templates.

Calling a phrase makes the English, which is what programs, the log and the journal get. ``Phrasebook.in_chinese`` takes
such a text apart by the same templates, so that what was written long ago can be read too. What is none of ours, such
as a server's own words, stays as it is, within a sentence and beside one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter

# Every length is bounded: words that nearly are ours, over and over again, must not cost the square of their length.
_ANYTHING = r".{1,300}?"
_NUMBER = r"-?\d{1,100}(?:\.\d{1,100})?(?:e\+\d{1,3})?"
_QUOTED = rf"(?:'(?:[^'\\]|\\.){{0,500}}'|\"(?:[^\"\\]|\\.){{0,500}}\"|{_NUMBER})"

_LONGEST = 4000
"""Characters of a text that are looked at: the longest of ours is half of that, a server's words may be a megabyte."""

PAIRED = r"(?:[^()]|\([^()]{0,300}\)){1,300}?"
"""The shape of a field with brackets only in pairs: it may end a sentence that itself stands within brackets."""

_SEPARATORS = {"": "", "; ": "；", ", ": "、"}


@dataclass(frozen=True)
class Phrase:
    """A sentence, or a part of one, in both languages; their fields are the same, by name.

    A field is a number where it has a format (``{seconds:.0f}``), a number or a quoted text with ``!r``, and any text
    otherwise. One with the name of a kind is a phrase of that kind; where it ends both templates, whatever follows it
    is read as of that kind, and may be several sentences or somebody else's words.
    """

    english: str
    chinese: str

    def __call__(self, **fields: object) -> str:
        """Return the English."""
        return self.english.format(**fields)


@dataclass(frozen=True)
class _Form:
    """How a phrase is read: its fields, by the names of their groups, and the kind of what follows its last word."""

    pattern: str
    fields: Mapping[str, str]
    chinese: str
    then: str


class Phrasebook:
    """The phrases of one subject. A text is sentences of the kind ``reason``, joined by "; ".

    ``shapes`` are the patterns of fields, by name, that are no plain text; ``lists`` the kinds of phrases of which
    several may stand in a row, with commas.
    """

    def __init__(self, *, shapes: Mapping[str, str], lists: frozenset[str] = frozenset()) -> None:
        self._shapes, self._lists = shapes, lists
        self.kinds: dict[str, list[Phrase]] = {}
        self._readers: dict[str, _Reader] = {}
        self._kept = lru_cache(maxsize=4096)(self._read)

    def phrase(self, english: str, chinese: str, *kinds: str) -> Phrase:
        """Add a phrase of these kinds (``reason``) and return it. Of several that fit a text, the first is taken."""
        phrase = Phrase(english, chinese)
        for kind in kinds or ("reason",):
            self.kinds.setdefault(kind, []).append(phrase)
        return phrase

    def in_chinese(self, text: str) -> str:
        """Given a text in English, return it in Chinese as far as it is ours. Its cost grows as its length does."""
        return self._kept(text[:_LONGEST]) + text[_LONGEST:]

    def _read(self, text: str, kind: str = "reason") -> str:
        told, at, gap = "", 0, ""
        while True:
            reader = self._reader(kind)
            found = reader.sentence.match(text, at)
            # Between two sentences of somebody else's, the semicolon is theirs too.
            told += gap if found is None else _SEPARATORS[gap]
            gap = ""
            if found is not None:
                form = reader.forms[found.lastgroup or ""]
                values = {name: self._told(name, found[group]) for group, name in form.fields.items()}
                told += form.chinese.format_map(values)
                at = found.end()
                if form.then:
                    kind = form.then
                    continue
            end = reader.end.search(text, at)
            assert end is not None, "every text ends"
            told += text[at : end.start()]
            at, gap = end.end(), end[0]
            if not gap:
                return told
            kind = "reason" if gap == "; " else kind

    def _told(self, name: str, value: str) -> str:
        return self._read(value, name) if name in self.kinds else value

    def _reader(self, kind: str) -> _Reader:
        if kind not in self._readers:
            end = r"[;,] |\Z" if kind in self._lists else r"; |\Z"
            forms = {f"p{place}": self._form(f"p{place}", phrase) for place, phrase in enumerate(self.kinds[kind])}
            patterns = [
                # A bracket around a reason ends with it.
                f"(?P<{name}>{form.pattern})" if form.then else rf"(?P<{name}>{form.pattern})(?=\)?(?:{end}))"
                for name, form in forms.items()
            ]
            self._readers[kind] = _Reader(re.compile("|".join(patterns), re.DOTALL), re.compile(end), forms)
        return self._readers[kind]

    def _form(self, group: str, phrase: Phrase) -> _Form:
        """Return how a phrase is read; its fields are groups whose names begin with ``group``, if there is one."""
        pattern, fields, chinese, then = "", {}, phrase.chinese, ""
        parts = list(Formatter().parse(phrase.english))
        for place, (literal, name, spec, conversion) in enumerate(parts, 1):
            pattern += re.escape(literal)
            if not name:
                continue
            if name in self.kinds and place == len(parts):
                then, chinese = name, chinese.removesuffix(f"{{{name}}}")
            else:
                fields[f"{group}_{name}"] = name
                opening = f"(?P<{group}_{name}>" if group else "(?:"
                pattern += f"{opening}{self._shape(name, bool(spec), conversion == 'r')})"
        return _Form(pattern, fields, chinese, then)

    def _shape(self, name: str, number: bool, quoted: bool) -> str:
        if name in self.kinds:
            return "|".join(self._form("", phrase).pattern for phrase in self.kinds[name])
        return self._shapes.get(name) or (_NUMBER if number else _QUOTED if quoted else _ANYTHING)


@dataclass(frozen=True)
class _Reader:
    """The phrases of one kind, made ready to be looked for: the first sentence of a text, and where one ends."""

    sentence: re.Pattern[str]
    end: re.Pattern[str]
    forms: Mapping[str, _Form]
