"""Every error that this program raises on purpose, as one tree.

    CacheKeeperError
    ├── ConfigError            .env, the environment or fleet.toml: every problem at once; exit code 78
    ├── WorkflowError          a workflow or template that cannot be used: which file, which node, why
    ├── ServerError            one ComfyUI server did not answer as needed
    │   ├── Unreachable          no TCP connection, or TLS or DNS failed
    │   ├── Busy                 connected, but no answer in time
    │   └── BadAnswer            answered something else than asked for (status, HTML, cut body, not JSON)
    │       ├── NoSuchRoute        404: this server does not have the route
    │       └── PromptRejected     POST /prompt was refused; carries the server's own words
    ├── GenerationError        images that were asked for did not come; names the prompt id
    │   ├── GenerationFailed     the run failed, was interrupted or made no image: the server's own words
    │   ├── PromptLost           the server knows the prompt no more: restarted, or deleted by somebody
    │   ├── StillRunning         not finished within the time given; waiting again is possible
    │   └── ImageMissing         made, and gone from the server before it was fetched
    ├── ImageCacheError        images could not be stored, or the task id is taken or not usable
    ├── DaemonError            the daemon cannot start, be asked or be stopped; carries the exit code
    │   └── AlreadyRunning       another one holds CACHE_DIR; exit code 75
    ├── RefusedTarget          a cleaning target or run that is unsafe: which rule, which flag allows it
    ├── TargetBusy             another cleaner holds the target's lock; says who
    ├── ModelError             a model could not be pulled, transferred, verified or removed as asked
    │   ├── HubError             a hub refused, or did not answer as needed; carries the HTTP status
    │   ├── NoRoom               the disk has not enough free space (or inodes) for what was asked
    │   └── ModelBusy            another process works on the model; exit code 75
    ├── StoreError             our own database could not be read or written
    │   ├── StoreUnavailable     nothing is wrong with it: a full disk, no permission, a lock; says what to do
    │   └── BadCursor            a page's cursor is not one that we gave out
    ├── TaskError              a task could not be carried out, or not be changed as asked
    │   ├── TaskStateError       not possible in the task's present state; says which
    │   └── TaskCancelled        raised inside a task that somebody has cancelled
    │       └── TaskInterrupted    raised inside a task whose worker is to end: it goes back to the queue
    ├── BackendError           a cache backend cannot be reached or used: which, why
    ├── NotFound               a target, task, server or model by that name does not exist; names those that do
    ├── BadRequest             an operation's argument is not usable: which, what is allowed
    │   └── NotConfirmed         a clear without the target's name typed in as its confirmation
    └── AccessDenied           no token, a bad one, or one whose role is too low

An error's text is for a person: what happened, to what, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.effects import Effect


class CacheKeeperError(Exception):
    """Base of all deliberate errors; ``str()`` is one line fit for a terminal."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: the key, the value as given, and what is allowed."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        # Here: few errors are problems, and the supervisor's commands import this module at each start.
        from core.setting_phrases import PROBLEM

        return PROBLEM(key=self.key, value=self.value, allowed=self.allowed)


class ConfigError(CacheKeeperError):
    """The configuration cannot be used. ``problems`` lists everything that is wrong, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class WorkflowError(CacheKeeperError):
    """A workflow, or a template with its mapping, cannot be used as asked; nothing has been sent."""


class ServerError(CacheKeeperError):
    """One ComfyUI server did not answer as needed."""


class Unreachable(ServerError):
    """No connection: refused, timed out while connecting, DNS or TLS failure."""


class Busy(ServerError):
    """The server accepted the connection and then did not answer in time: alive, occupied."""


class BadAnswer(ServerError):
    """The server answered, but not what was asked for."""


class NoSuchRoute(BadAnswer):
    """The server answered 404: it does not have this route (a ComfyUI without the Inspire Pack, an older build)."""


class PromptRejected(BadAnswer):
    """``POST /prompt`` was refused. ``detail`` is the server's own words (node, class, message)."""

    def __init__(self, message: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class GenerationError(CacheKeeperError):
    """The images of one prompt did not come; nothing of it has been stored."""

    def __init__(self, message: str, prompt_id: str) -> None:
        self.prompt_id = prompt_id
        super().__init__(message)


class GenerationFailed(GenerationError):
    """The server ran the prompt without success, or without making an image."""


class PromptLost(GenerationError):
    """The prompt is neither in the queue nor in the history: it will never finish."""


class StillRunning(GenerationError):
    """The prompt had not finished when the time was over; it is still queued or running."""


class ImageMissing(GenerationError):
    """The history names an image that ``/view`` does not have any more."""


class ImageCacheError(CacheKeeperError):
    """Images could not be stored in the image cache; nothing incomplete is left under the task's name."""


class DaemonError(CacheKeeperError):
    """The daemon cannot do as asked. ``exit_code`` is the process's (sysexits.h; LSB's for ``status``)."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class AlreadyRunning(DaemonError):
    """Another daemon holds CACHE_DIR; EX_TEMPFAIL, so that systemd does not try again and again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=75)


class RefusedTarget(CacheKeeperError):
    """A cleaning target or a run that is unsafe; the text names the rule and the flag that allows it."""


class TargetBusy(CacheKeeperError):
    """Another cleaner works on the same target; the text says which process."""


class ModelError(CacheKeeperError):
    """A model could not be pulled, transferred, verified or removed as asked."""


class HubError(ModelError):
    """A hub refused or did not answer as needed. ``status`` is the HTTP status, None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class NoRoom(ModelError):
    """The disk has not enough free space, or inodes, for what was asked."""


class ModelBusy(ModelError):
    """Another process works on the same model; the text says which."""


class StoreError(CacheKeeperError):
    """Our own database could not be read or written."""


class StoreUnavailable(StoreError):
    """Our own database is whole and cannot be used now: the disk is full, it is somebody else's, or locked."""


class BadCursor(StoreError):
    """The cursor of a page is not one that we gave out, or belongs to another order."""


class TaskError(CacheKeeperError):
    """A task could not be carried out, or not be changed as asked.

    Raised inside a task it is final: no further attempt would help. Any other exception uses up one attempt.
    """


class TaskStateError(TaskError):
    """Not possible in the task's present state."""


class TaskCancelled(TaskError):
    """Somebody has cancelled the task that is running; raised inside it so that it ends soon.

    ``effect`` is what had been done until then, where a backend was at work; the audit log keeps it.
    """

    effect: Effect | None = None


class TaskInterrupted(TaskCancelled):
    """The worker is to end, or has lost the task to another; the task will be run again, from its beginning."""


class BackendError(CacheKeeperError):
    """A cache backend cannot be reached or used."""


class AccessDenied(CacheKeeperError):
    """No token, a bad one, or one whose role is too low. ``status`` is HTTP's: 401 or 403."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class NotFound(CacheKeeperError):
    """What was asked for by name does not exist."""


class BadRequest(CacheKeeperError):
    """An operation's argument is not usable. ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class NotConfirmed(BadRequest):
    """A clear needs the target's own name as its confirmation."""
