"""The rules, as a table, and what holds for all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.entries import KEPT_REASONS, Entry, Reason
from core.retention import DiskSpace, FreeSpace, RetentionPolicy, plan, resolve

NOW = 1_800_000_000.0
DAY = 86_400.0
HOUR = 3_600.0


def entry(name: str, days: float, size: int = 100, **more: object) -> Entry:
    return Entry(name, NOW - days * DAY, 0.0, size, size, 1, 1)._replace(**more)  # type: ignore[arg-type]


def reasons(policy: RetentionPolicy, *entries: Entry, disk: DiskSpace | None = None) -> dict[str, Reason]:
    rules = resolve(entries, policy, NOW, disk)
    return {each.name: rules.decide(each).reason for each in entries}


DAILY = RetentionPolicy(older_than_seconds=DAY)

TABLE = [
    # policy, entry, reason
    (RetentionPolicy(), entry("a", 900), Reason.EMPTY_POLICY),
    (RetentionPolicy(pinned=("b",)), entry("a", 900), Reason.EMPTY_POLICY),
    (DAILY, entry("a", 2), Reason.OLDER_THAN),
    (DAILY, entry("a", 0.5), Reason.YOUNG),
    # Strictly older, in seconds: exactly one day is not older than a day, a second more is.
    (DAILY, entry("a", 1), Reason.YOUNG),
    (DAILY, entry("a", 1 + 1 / DAY), Reason.OLDER_THAN),
    (DAILY, entry("a", 900, has_keep_file=True), Reason.KEEP_FILE),
    (RetentionPolicy(older_than_seconds=DAY, pinned=("task-*",)), entry("12/task-1", 9), Reason.PINNED),
    (RetentionPolicy(older_than_seconds=DAY, pinned=("12/*",)), entry("12/task-1", 9), Reason.PINNED),
    (RetentionPolicy(older_than_seconds=DAY, pinned=("11/*",)), entry("12/task-1", 9), Reason.OLDER_THAN),
    (DAILY, entry("a", -2), Reason.FUTURE_TIME),
    (RetentionPolicy(max_size_bytes=0), entry("a", -2), Reason.FUTURE_TIME),
    (RetentionPolicy(older_than_seconds=60), entry("a", 0.5 / 24), Reason.RECENTLY_MODIFIED),
    (RetentionPolicy(max_size_bytes=0), entry("a", 0.5 / 24), Reason.RECENTLY_MODIFIED),
    (DAILY, entry("a", 9, arrived=NOW - 60), Reason.OLDER_THAN),
    (
        RetentionPolicy(older_than_seconds=DAY, arrival_grace_seconds=HOUR),
        entry("a", 9, arrived=NOW - 60),
        Reason.RECENTLY_ARRIVED,
    ),
    (RetentionPolicy(keep_last=1), entry("a", 9), Reason.KEEP_LAST),
    (RetentionPolicy(max_size_bytes=1000), entry("a", 9), Reason.WITHIN_LIMITS),
]


@pytest.mark.parametrize(("policy", "judged", "reason"), TABLE)
def test_each_rule_gives_its_reason(policy: RetentionPolicy, judged: Entry, reason: Reason) -> None:
    assert reasons(policy, judged) == {judged.name: reason}


def test_the_newest_n_are_protected_from_age() -> None:
    found = reasons(
        RetentionPolicy(older_than_seconds=DAY, keep_last=2), entry("a", 5), entry("b", 4), entry("c", 3), entry("d", 2)
    )
    assert found == {
        "a": Reason.OLDER_THAN,
        "b": Reason.OLDER_THAN,
        "c": Reason.KEEP_LAST,
        "d": Reason.KEEP_LAST,
    }


def test_keep_last_alone_expires_all_but_the_newest() -> None:
    found = reasons(RetentionPolicy(keep_last=1), entry("a", 5), entry("b", 4), entry("c", 3))
    assert found == {"a": Reason.BEYOND_KEEP_LAST, "b": Reason.BEYOND_KEEP_LAST, "c": Reason.KEEP_LAST}


def test_keep_last_of_more_than_there_are_keeps_everything() -> None:
    found = reasons(RetentionPolicy(older_than_seconds=DAY, keep_last=9), entry("a", 5), entry("b", 4))
    assert set(found.values()) == {Reason.KEEP_LAST}


def test_a_size_limit_takes_the_oldest_until_under() -> None:
    entries = [entry(name, days, 100) for name, days in (("e", 1), ("a", 5), ("c", 3), ("b", 4), ("d", 2))]
    found = reasons(RetentionPolicy(max_size_bytes=250), *entries)
    assert {name for name, reason in found.items() if reason is Reason.MAX_SIZE} == {"a", "b", "c"}


def test_what_age_takes_counts_towards_the_size_limit() -> None:
    entries = [entry("a", 5), entry("b", 4), entry("c", 0.5), entry("d", 0.4)]
    found = reasons(RetentionPolicy(older_than_seconds=DAY, max_size_bytes=200), *entries)
    assert found == {"a": Reason.OLDER_THAN, "b": Reason.OLDER_THAN, "c": Reason.YOUNG, "d": Reason.YOUNG}


def test_a_size_limit_never_takes_what_keep_last_protects() -> None:
    found = reasons(RetentionPolicy(keep_last=2, max_size_bytes=10), entry("a", 5), entry("b", 4), entry("c", 3))
    assert found == {"a": Reason.MAX_SIZE, "b": Reason.KEEP_LAST, "c": Reason.KEEP_LAST}


def test_protected_entries_count_but_others_pay() -> None:
    policy = RetentionPolicy(max_size_bytes=150, pinned=("a",))
    found = reasons(policy, entry("a", 9), entry("b", 4), entry("c", 3))
    assert found == {"a": Reason.PINNED, "b": Reason.MAX_SIZE, "c": Reason.MAX_SIZE}


def test_free_space_starts_at_the_low_mark_and_ends_at_the_high_one() -> None:
    entries = [entry(str(days), days, 100) for days in range(1, 11)]
    policy = RetentionPolicy(min_free=FreeSpace(fraction=0.1), free_until=FreeSpace(fraction=0.15))
    enough = reasons(policy, *entries, disk=DiskSpace(10_000, 1_000))
    assert set(enough.values()) == {Reason.WITHIN_LIMITS}
    short = reasons(policy, *entries, disk=DiskSpace(10_000, 999))
    assert sorted(int(name) for name, reason in short.items() if reason is Reason.MIN_FREE) == [5, 6, 7, 8, 9, 10]


def test_running_out_of_inodes_counts_as_a_full_disk() -> None:
    policy = RetentionPolicy(min_free=FreeSpace(fraction=0.1))
    disk = DiskSpace(10_000, 9_000, total_inodes=100, free_inodes=7)
    found = reasons(policy, *(entry(str(days), days, 100) for days in range(1, 6)), disk=disk)
    assert sorted(int(name) for name, reason in found.items() if reason is Reason.MIN_FREE) == [4, 5]


def test_entries_with_the_very_same_time_are_not_all_or_nothing() -> None:
    entries = [entry(f"task-{number}", 5, 10) for number in range(1000)]
    rules = resolve(entries, RetentionPolicy(max_size_bytes=5000), NOW)
    gone = sum(rules.decide(each).delete for each in entries)
    assert 500 <= gone <= 520


def test_a_plan_of_many_entries_stays_small_and_explains_itself() -> None:
    entries = [entry(f"{number % 12 + 1:02d}/{number}", number / 1000, number) for number in range(100_000)]
    found = plan(entries, DAILY, NOW, shown=10)
    assert {reason: tally.entries for reason, tally in found.tallies.items()} == {
        Reason.YOUNG: 1001,
        Reason.OLDER_THAN: 98_999,
    }
    assert len(found.first) == len(found.biggest) == len(found.oldest) == 10
    assert found.biggest[0].allocated_bytes == 99_999
    assert found.oldest[0].name == entries[-1].name
    assert found.deleted.allocated_bytes + found.kept.allocated_bytes == sum(each.allocated_bytes for each in entries)


policies = st.builds(
    RetentionPolicy,
    older_than_seconds=st.none() | st.floats(1, 40 * DAY),
    keep_last=st.integers(0, 6),
    max_size_bytes=st.none() | st.integers(0, 3000),
    min_free=st.none() | st.builds(FreeSpace, fraction=st.floats(0.01, 0.9)),
    pinned=st.just(()) | st.just(("*3",)),
)
trees = st.lists(st.tuples(st.floats(-5, 60), st.integers(0, 500), st.booleans()), max_size=30).map(
    lambda rows: [entry(f"t{number}", days, size, has_keep_file=kept) for number, (days, size, kept) in enumerate(rows)]
)


@settings(max_examples=150, deadline=None)
@given(policies, trees)
def test_whatever_the_policy_protected_entries_stay_and_limits_are_kept(
    policy: RetentionPolicy, entries: list[Entry]
) -> None:
    rules = resolve(entries, policy, NOW, DiskSpace(10_000, 500))
    kept = [each for each in entries if not rules.decide(each).delete]
    gone = [each for each in entries if rules.decide(each).delete]
    for each in gone:
        assert not each.has_keep_file
        assert not policy.pins(each.name)
        assert each.modified < NOW - HOUR
        # What the walker keeps without reading must be exactly what would have been kept anyway.
        assert each.modified < rules.young_from
    if policy.deletes_nothing:
        assert not gone
    newest = sorted((each.modified for each in entries), reverse=True)[: policy.keep_last]
    assert all(each.modified <= newest[-1] for each in gone if len(newest) == policy.keep_last > 0)
    if policy.max_size_bytes is not None and sum(each.allocated_bytes for each in kept) > policy.max_size_bytes:
        protected = KEPT_REASONS - {Reason.YOUNG, Reason.WITHIN_LIMITS}
        assert all(rules.decide(each).reason in protected or each.modified >= NOW - HOUR for each in kept)


def test_nothing_is_young_under_a_policy_that_has_to_read_everything() -> None:
    assert resolve([], RetentionPolicy(), NOW).young_from == -math.inf
