"""The embedded engine passes the contract of all engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.engine_contract import EngineContract
from tests.operations.engine_kit import EngineKit, kit_in


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def kit(self, tmp_path: Path) -> Iterator[EngineKit]:
        with kit_in(tmp_path) as kit:
            yield kit
