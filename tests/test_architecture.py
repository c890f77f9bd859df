"""The invariants of ARCHITECTURE.md, read from the imports: who may know whom, and who may touch the world."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ABSENT = {"build", "__pycache__", "node_modules"}
OUTSIDE_THE_PRODUCT = {"tests", "benchmarks", "examples", "scripts", "docs"}
WORKERS = ("checker", "cleaner", "modelcache")


def sources(*packages: str) -> list[Path]:
    """The Python files of these packages, or of the whole product."""
    found = [
        path
        for path in ROOT.rglob("*.py")
        if not any(part.startswith(".") or part in ABSENT for part in path.relative_to(ROOT).parts)
    ]
    if packages:
        return [path for path in found if path.relative_to(ROOT).parts[0].removesuffix(".py") in packages]
    return [path for path in found if path.relative_to(ROOT).parts[0] not in OUTSIDE_THE_PRODUCT]


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module that a file imports, wherever in it, by its full name, and the line."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
                yield from ((f"{package}.{node.module or alias.name}", node.lineno) for alias in node.names)
                continue
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def offenders(paths: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in paths
        for name, line in imports(path)
        if any(name == each or name.startswith(each + ".") for each in forbidden)
    ]


def code(path: Path) -> str:
    """A file as Python sees it: names and strings, no comments."""
    return ast.dump(ast.parse(path.read_text(encoding="utf-8")))


def test_the_reader_of_imports_sees_what_it_must() -> None:
    assert offenders([ROOT / "store" / "database.py"], ("sqlite3",)), "or every test below is empty"
    assert len(sources()) > 40
    assert {path.relative_to(ROOT).parts[0] for path in sources("core")} == {"core"}


def test_core_imports_only_the_standard_library_and_itself() -> None:
    allowed = set(sys.stdlib_module_names) | {"core"}
    assert [
        f"{path.name}:{line} imports {name}"
        for path in sources("core")
        for name, line in imports(path)
        if name.partition(".")[0] not in allowed
    ] == []


IMPURE = (
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib.Path", "random", "secrets", "select",
    "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid",
)  # fmt: skip


def test_core_has_no_input_output_no_clock_and_no_log() -> None:
    assert offenders(sources("core"), IMPURE) == []
    for path in sources("core"):
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        }
        assert called.isdisjoint({"open", "print", "input", "now", "today", "utcnow", "read_text", "write_text"}), path


@pytest.mark.parametrize("worker", WORKERS)
def test_the_workers_know_neither_each_other_nor_the_store_nor_the_api(worker: str) -> None:
    # `python -m checker` and `python -m cleaner.scheduler` are composition roots of their own, as main.py is.
    paths = [path for path in sources(worker) if path.name not in ("__main__.py", "scheduler.py")]
    others = tuple(name for name in WORKERS if name != worker)
    assert offenders(paths, (*others, "store", "operations", "api", "main", "daemon", "runtime", "supervisor")) == []


@pytest.mark.parametrize("worker", WORKERS)
def test_even_a_workers_command_knows_no_other_worker(worker: str) -> None:
    assert offenders(sources(worker), tuple(name for name in WORKERS if name != worker)) == []


def test_operations_know_neither_the_api_nor_the_daemon_nor_the_checker() -> None:
    assert offenders(sources("operations"), ("api", "checker", "main", "daemon", "runtime", "supervisor")) == []


def test_nothing_below_knows_the_composition_root() -> None:
    roots = {"main.py", "daemon.py"}
    paths = [path for path in sources() if path.relative_to(ROOT).as_posix() not in roots]
    assert offenders(paths, ("main", "daemon")) == []


def test_only_the_client_speaks_http_to_servers() -> None:
    # A command asks the running daemon over its own API, and models come from a hub; neither is a ComfyUI.
    exempt = {ROOT / name for name in ("runtime/daemon_fleet.py", "modelcache/download.py", "operations/remote.py")}
    paths = [path for path in sources() if path.relative_to(ROOT).parts[0] != "client" and path not in exempt]
    assert offenders(paths, ("aiohttp", "requests", "httpx", "urllib3", "urllib.request", "http.client")) == []


def test_only_config_reads_the_environment() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.name != "config.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "getenvb"))
        or (isinstance(node, ast.ImportFrom) and any(alias.name in ("environ", "getenv") for alias in node.names))
    ]
    assert found == []


def test_only_the_store_knows_databases() -> None:
    paths = [path for path in sources() if path.relative_to(ROOT).parts[0] != "store"]
    assert offenders(paths, ("sqlite3", "redis", "rq", "pymongo", "bson")) == []


def test_the_store_knows_no_worker_and_no_network() -> None:
    assert offenders(sources("store"), (*WORKERS, "client", "api", "config", "operations")) == []


HEAVY = (
    "requests", "schedule", "fastapi", "starlette", "uvicorn", "aiohttp", "rich", "jinja2", "psutil", "dotenv",
    "asyncio", "sqlite3", "main", "runtime", "checker", "cleaner", "modelcache", "client", "store", "api", "tomllib",
    "operations",
)  # fmt: skip


def test_the_supervisor_loads_no_worker_and_nothing_heavy() -> None:
    script = "import daemon, sys; print(' '.join(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert loaded & set(HEAVY) == set()


def test_the_supervisors_code_names_no_worker_even_lazily() -> None:
    heavy = (
        "requests",
        "schedule",
        "fastapi",
        "uvicorn",
        "aiohttp",
        "main",
        "runtime",
        *WORKERS,
        "client",
        "store",
        "api",
        "operations",
    )
    assert offenders([*sources("daemon"), *sources("supervisor")], heavy) == []


def test_no_module_has_the_name_of_a_standard_or_installed_one() -> None:
    ours = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in sources()}
    assert ours & set(sys.stdlib_module_names) == set()
    dependencies = {"schedule", "requests", "redis", "rq", "fastapi", "uvicorn", "psutil", "rich", "jinja2", "yarl"}
    assert ours & dependencies == set()


def test_no_test_patches_the_clock() -> None:
    paths = [path for path in sources("tests") if path != Path(__file__)]
    assert offenders(paths, ("unittest.mock", "freezegun", "time_machine", "mock")) == []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                patched = ast.dump(node)
                assert not any(name in patched for name in ("'time'", "'monotonic'", "'datetime'", "'sleep'")), path
