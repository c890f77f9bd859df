"""Inspire Pack's backend cache: named objects, one LRU per tag, and the text in which it lists them.

Two habits of the original matter to whoever reads it from outside, and are kept:

- The list prints keys raw, so a key with a newline can forge lines and even section headers.
- Reading the list touches every entry in the order of storing. A key that was just used by a workflow is
  therefore no longer the most recent one after somebody looked at the list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

STRING_SECTION = "---- [String Key Caches] ----\n"
NUMBER_SECTION = "---- [Number Key Caches] ----\n"
SETTINGS_SECTION = "---- [TagCache Settings] ----\n"

#: The pack ships these in its cache_settings.json.
SHIPPED_TAG_SIZES: Mapping[str, int] = {"ckpt": 5, "latent": 100, "image": 100}

Key = str | int


class TagLru:
    """The entries of one tag: at most ``size``, the least recently touched goes first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: dict[Key, object] = {}
        self._recency: OrderedDict[Key, None] = OrderedDict()

    def store(self, key: Key, value: object) -> None:
        if self.size < 1:
            raise ValueError("value too large")
        while key not in self._values and len(self._values) >= self.size:
            oldest, _ = self._recency.popitem(last=False)
            del self._values[oldest]
        self._values[key] = value
        self._touch(key)

    def read(self, key: Key) -> object:
        value = self._values[key]
        self._touch(key)
        return value

    def remove(self, key: Key) -> None:
        del self._values[key]
        del self._recency[key]

    def keys(self) -> list[Key]:
        """In the order of storing."""
        return list(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def _touch(self, key: Key) -> None:
        self._recency[key] = None
        self._recency.move_to_end(key)


class BackendCache:
    """What the nodes ``… //Inspire`` fill and read; a key lives under one tag at a time."""

    def __init__(self, tag_sizes: Mapping[str, int] = SHIPPED_TAG_SIZES) -> None:
        self._tag_sizes = dict(tag_sizes)
        self._tags: dict[str, TagLru] = {}
        #: How often each key was stored again: a node that reads the cache counts as changed when this does.
        #: Clearing and evicting leave it alone, which is half of the no-op trap.
        self._restored: dict[Key, int] = {}

    def store(self, key: Key, tag: str, value: object) -> None:
        """Raises ValueError when the tag's size is 0."""
        holder = self._holder(key)
        if holder is not None:
            holder.remove(key)
        if tag not in self._tags:
            self._tags[tag] = TagLru(self.size_of(tag))
        self._tags[tag].store(key, value)
        self._restored[key] = self._restored.get(key, -1) + 1

    def size_of(self, tag: str) -> int:
        if tag in self._tag_sizes:
            return self._tag_sizes[tag]
        if "ckpt" in tag:
            return 5
        return 100 if tag in ("latent", "image") else 20

    def read(self, key: Key) -> object | None:
        """The stored object, which becomes its tag's most recent one; None when the key is absent."""
        holder = self._holder(key)
        return None if holder is None else holder.read(key)

    def version_of(self, key: Key) -> tuple[Key, int]:
        return key, max(self._restored.get(key, 0), 0)

    def remove(self, key: Key) -> None:
        """Raises KeyError when the key is absent."""
        holder = self._holder(key)
        if holder is None:
            raise KeyError(key)
        holder.remove(key)

    def clear(self) -> None:
        self._tags = {}

    def keys(self) -> list[Key]:
        """Without touching anything, unlike ``listing``."""
        return [key for lru in self._tags.values() for key in lru.keys()]  # noqa: SIM118 (no mapping)

    def __contains__(self, key: Key) -> bool:
        return self._holder(key) is not None

    def listing(self) -> str:
        """The text of ``GET /inspire/cache/list``."""
        strings, numbers = STRING_SECTION, NUMBER_SECTION
        for tag, key in self._touch_all():
            line = f"{key}: {tag or 'N/A(tag)'}\n"
            if isinstance(key, str):
                strings += line
            else:
                numbers += line
        sizes = {**self._tag_sizes}
        for tag, lru in self._tags.items():
            sizes.setdefault(tag, lru.size)
        settings = SETTINGS_SECTION + "".join(f"{tag}: {size}\n" for tag, size in sizes.items())
        return f"{strings}\n{numbers}\n{settings}"

    def apply_settings(self, text: str) -> None:
        """The body of ``POST /inspire/cache/settings``. Raises ValueError with the text that is answered."""
        lines = text.split(SETTINGS_SECTION)[-1].strip().split("\n")
        sizes: dict[str, int] = {}
        for line in lines:
            tag, size = line.split(":")
            sizes[tag] = int(size.strip())
        if sizes == self._tag_sizes:
            return
        entries = [(tag, key, self._tags[tag].read(key)) for tag, key in self._touch_all()]
        self._tag_sizes, self._tags = sizes, {}
        for tag, key, value in entries:
            self._tags.setdefault(tag, TagLru(self.size_of(tag))).store(key, value)

    def _touch_all(self) -> Iterator[tuple[str, Key]]:
        for tag, lru in self._tags.items():
            for key in lru.keys():  # noqa: SIM118 (no mapping)
                lru.read(key)
                yield tag, key

    def _holder(self, key: Key) -> TagLru | None:
        return next((lru for lru in self._tags.values() if key in lru), None)
