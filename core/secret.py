"""A value that must not be seen: it prints as ``***`` wherever it ends up."""

from __future__ import annotations

_SHORTEST_SECRET = 6
"""A shorter value is no secret worth the name, and masking it would only garble what servers say."""


class Secret:
    """A token, or a header's value: only ``reveal`` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def masked_in(self, text: str) -> str:
        """Return ``text`` without this value, nor the token alone that follows its scheme (``Bearer …``)."""
        for part in (self._value, self._value.rpartition(" ")[2]):
            if len(part) >= _SHORTEST_SECRET:
                text = text.replace(part, "***")
        return text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
