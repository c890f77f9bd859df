"""Write the systemd unit of this checkout: ``make install-service``, or ``python scripts/install_service.py --print``.

The unit may write only to CACHE_DIR and the directories that are cleaned, so it is made from the settings; run it
again after changing those.
"""

from __future__ import annotations

import argparse
import grp
import math
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - found only now that the project's root is on the path
from core import setting_phrases as say  # noqa: E402
from core.errors import ConfigError, DaemonError  # noqa: E402
from core.restart import ABORT_GRACE_SECONDS  # noqa: E402

UNIT = "cache_checker.service"
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))


def main(arguments: list[str]) -> int:
    """Return 0 once the unit is written, 78 for settings that cannot be used, 1 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        settings = config.load(options.root, serving=True)
        account = _account(options.user or config.inherited_environment().get("SUDO_USER") or settings.root.owner())
        unit = render(settings, account, private_tmp=not options.shared_tmp)
        if options.print:
            print(unit, end="")
        else:
            _install(unit, options.unit_dir, settings.cache_dir, account)
    except ConfigError as error:
        print(config.told(error), file=sys.stderr)
        return config.EXIT_CONFIG
    except DaemonError as error:
        print(config.told(error), file=sys.stderr)
        return error.exit_code
    return 0


def render(settings: config.Settings, account: pwd.struct_passwd, *, private_tmp: bool = True) -> str:
    """Return the unit that runs the project as ``account``. Raises DaemonError when that could not work."""
    root = settings.root
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        python = Path(sys.executable)
    cleaned = _cleaned_directories(settings)
    if private_tmp:
        for name, path in [("CACHE_DIR", settings.cache_dir), (say.THE_PROJECT(), root), *cleaned]:
            if _below(path.resolve(), TEMPORARY):
                raise DaemonError(say.BELOW_TEMPORARY(place=name, path=path))
    in_use = [root, python, python.resolve(), settings.cache_dir, *(path for _, path in cleaned)]
    # A directory that does not exist yet would keep the service from starting, hence the "-" before those that
    # others make. CACHE_DIR is made here.
    writable = [_quoted(settings.cache_dir), *(f"-{_quoted(path)}" for _, path in cleaned)]
    values = {
        "PYTHON": _quoted(python, command=True),
        "SCRIPT": _quoted(root / "daemon.py", command=True),
        "ROOT": str(root).replace("%", "%%"),
        "USER": account.pw_name,
        "GROUP": grp.getgrgid(account.pw_gid).gr_name,
        "STOP_SECONDS": str(math.ceil(settings.stop_grace_seconds + ABORT_GRACE_SECONDS + 10)),
        "START_SECONDS": str(math.ceil(max(300.0, 4 * settings.start_timeout_seconds))),
        "WRITABLE": " ".join(dict.fromkeys(writable)),
        "PROTECT_HOME": "read-only" if any(_below(path, HOMES) for path in in_use) else "yes",
        "PRIVATE_TMP": "yes" if private_tmp else "no",
    }
    template = (ROOT / "systemd" / UNIT).read_text(encoding="utf-8")
    body = template[template.index("[Unit]") :]
    made = f"# Made by `make install-service` from {ROOT / 'systemd' / UNIT}; run it again after changes.\n\n"
    return made + re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], body)


def _install(unit: str, directory: Path, cache_dir: Path, account: pwd.struct_passwd) -> None:
    path = directory / UNIT
    try:
        if not cache_dir.exists():
            cache_dir.mkdir(parents=True)
            os.chown(cache_dir, account.pw_uid, account.pw_gid)
            print(f"Created cache directory: {cache_dir}")
        path.write_text(unit, encoding="utf-8")
    except PermissionError as error:
        raise DaemonError(say.NEEDS_SUDO(path=error.filename)) from None
    except OSError as error:
        raise DaemonError(say.NOT_WRITTEN(path=error.filename, words=error.strerror)) from None
    print(f"Wrote {path}")
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "daemon-reload"], check=False)
    print("Start it now and at boot 立即启动并开机自启: systemctl enable --now cache_checker")


def _cleaned_directories(settings: config.Settings) -> list[tuple[str, Path]]:
    targets = [
        (say.THE_TARGET(target=target.name), settings.root / directory)
        for target in settings.targets
        for directory in target.roots
    ]
    return [("IMAGE_CACHE_DIR", settings.image_cache_dir), *targets]


def _account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise DaemonError(say.NO_USER(name=name)) from None


def _below(path: Path, directories: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(directory) for directory in directories)


def _quoted(path: Path, *, command: bool = False) -> str:
    """Return a path as systemd.syntax(7) reads it: quoted, specifiers escaped, in a command ``$`` as well."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s\"'\\;]", text) else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="install_service.py", description="Install the systemd service cache_checker. 安装 systemd 服务。"
    )
    parser.add_argument("--user", help="user to run as (default: who called sudo, else the checkout's owner) 运行用户")
    parser.add_argument("--print", action="store_true", help="print the unit, write nothing 只打印")
    parser.add_argument(
        "--shared-tmp", action="store_true", help="PrivateTmp=no, for a CACHE_DIR below /tmp 与系统共用 /tmp"
    )
    parser.add_argument(
        "--unit-dir", type=Path, default=Path("/etc/systemd/system"), metavar="DIR", help="where to write it 单元目录"
    )
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="the checkout 项目目录")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
