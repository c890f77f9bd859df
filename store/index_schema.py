"""The tables of the index of cache entries, and what a large change to them takes away for a while."""

from __future__ import annotations

from store.database import Versions

ORDERS = {
    "entries_of_target_by_time": "entries (target, created_at)",
    "entries_of_target_by_size": "entries (target, size)",
    "entries_by_time": "entries (created_at)",
    "entries_by_size": "entries (size)",
}
"""The indexes whose order has nothing to do with that of a walk: what changing an entry costs, it costs here."""

TRIGGERS = {
    "entry_added": """
        AFTER INSERT ON entries BEGIN
            UPDATE OR ROLLBACK targets SET revision = revision + 1,
                entries = entries + 1, files = files + new.files, size = size + new.size
            WHERE id = new.target;
        END""",
    "entry_removed": """
        AFTER DELETE ON entries BEGIN
            UPDATE OR ROLLBACK targets SET revision = revision + 1,
                entries = entries - 1, files = files - old.files, size = size - old.size
            WHERE id = old.target;
        END""",
    "entry_changed": """
        AFTER UPDATE ON entries BEGIN
            UPDATE OR ROLLBACK targets SET revision = revision + 1,
                files = files + new.files - old.files, size = size + new.size - old.size
            WHERE id = new.target;
        END""",
}
"""They keep the totals, and count what is done to a target's entries, whoever does it."""

RECOUNT = """
    UPDATE targets SET revision = revision + 1, (entries, files, size) = (
        SELECT count(*), coalesce(sum(files), 0), coalesce(sum(size), 0)
        FROM entries NOT INDEXED WHERE target = targets.id
    )"""
"""What the triggers would have come to; a WHERE clause may follow."""


def with_orders() -> list[str]:
    """Return the statements that make what ``without_orders`` takes away."""
    return [f"CREATE INDEX {name} ON {on}" for name, on in ORDERS.items()] + [
        f"CREATE TRIGGER {name} {body}" for name, body in TRIGGERS.items()
    ]


def without_orders() -> list[str]:
    return [f"DROP TRIGGER {name}" for name in TRIGGERS] + [f"DROP INDEX {name}" for name in ORDERS]


def _script(statements: list[str]) -> str:
    return "".join(f"{each};\n" for each in statements)


INDEX: Versions = (
    """
    CREATE TABLE targets (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        entries INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0,
        indexed_at REAL, error TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        created_at REAL NOT NULL, last_accessed REAL, files INTEGER NOT NULL, mark INTEGER NOT NULL
    );
    CREATE INDEX entries_of_target ON entries (target, name, mark);
    CREATE INDEX entries_of_target_by_time ON entries (target, created_at);
    CREATE INDEX entries_of_target_by_size ON entries (target, size);
    CREATE INDEX entries_by_name ON entries (name);
    CREATE INDEX entries_by_time ON entries (created_at);
    CREATE INDEX entries_by_size ON entries (size);
    CREATE TRIGGER entry_known BEFORE INSERT ON entries
        WHEN EXISTS (SELECT 1 FROM entries WHERE target = new.target AND name = new.name)
    BEGIN
        SELECT raise(IGNORE);
    END;
    CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        UPDATE targets SET entries = entries + 1, files = files + new.files, size = size + new.size
        WHERE id = new.target;
    END;
    CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
        UPDATE targets SET entries = entries - 1, files = files - old.files, size = size - old.size
        WHERE id = old.target;
    END;
    CREATE TRIGGER entry_changed AFTER UPDATE OF files, size ON entries BEGIN
        UPDATE targets SET files = files + new.files - old.files, size = size + new.size - old.size
        WHERE id = new.target;
    END;
    """,
    """
    CREATE TABLE ages (
        target TEXT NOT NULL, band INTEGER NOT NULL, entries INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (target, band)
    ) WITHOUT ROWID;
    CREATE TABLE samples (
        day INTEGER NOT NULL, target TEXT NOT NULL, entries INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (day, target)
    ) WITHOUT ROWID;
    """,
    # Entries are kept, so that lists are not empty until the next walk. Their indexes and triggers go with the table.
    """
    ALTER TABLE entries RENAME TO earlier;
    -- AUTOINCREMENT: a number is never used twice, so that a cursor cannot meet another entry under an old number.
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        created_at REAL NOT NULL, last_accessed REAL, files INTEGER NOT NULL
    );
    INSERT INTO entries SELECT id, target, name, size, created_at, last_accessed, files FROM earlier ORDER BY id;
    DROP TABLE earlier;
    CREATE UNIQUE INDEX entries_of_target ON entries (target, name);
    CREATE INDEX entries_by_name ON entries (name);
    -- What the last walk saw, in its order: names between zeroes, and a mark of 8 bytes for each.
    CREATE TABLE runs (
        target INTEGER NOT NULL, position INTEGER NOT NULL, names TEXT NOT NULL, marks BLOB NOT NULL,
        PRIMARY KEY (target, position)
    );
    ALTER TABLE targets ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
    -- The revision that the runs speak of. At any other they are worthless.
    ALTER TABLE targets ADD COLUMN remembered INTEGER;
    """
    + _script([*with_orders(), RECOUNT]),
)
