"""A server process that ends when the Python process that started it ends, however that ends.

Linux could do it alone (PR_SET_PDEATHSIG), but counts the end of the starting *thread* as the
parent's death, and servers are started in worker threads here. So a tiny shell waits at the end
of a pipe instead: the operating system closes that pipe even after SIGKILL, and the shell then
stops the server. Server and shell have sessions of their own, so Ctrl-C in a terminal reaches
only the Python process, which stops them in order.
"""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from consumer.errors import ServiceUnavailable

_WATCH = 'read -r pid || exit 0; while read -r _; do :; done; kill -s "$0" "$pid"'


class Tethered:
    """One server process at a time, its output appended to ``log``.

    ``title`` names the server in errors, ``alarm`` finds the lines of its log that tell why it
    failed, and ``orphan_signal`` stops it when its parent is gone.
    """

    def __init__(
        self,
        title: str,
        log: Path,
        *,
        alarm: re.Pattern[str],
        orphan_signal: signal.Signals,
    ) -> None:
        self._title = title
        self._log = log
        self._alarm = alarm
        self._orphan_signal = orphan_signal
        self._server: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        if self._server is None or self._server.poll() is not None:
            return None
        return self._server.pid

    def start(
        self,
        command: Sequence[str | Path],
        *,
        ready: Callable[[int], bool],
        seconds: float,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        """Starts ``command`` and returns once ``ready(pid)``; a server that runs is left alone.

        Raises ServiceUnavailable, naming the log file and its telling line, when the process ends
        by itself or is not ready within ``seconds``; nothing is left running then.
        """
        if self.pid is not None:
            return
        self._let_go()
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            watch = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, self._orphan_signal.name.removeprefix("SIG")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._watch = watch
            try:
                server = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                    start_new_session=True,
                )
            except OSError as error:
                self._let_go()
                raise ServiceUnavailable(
                    f"{self._title} could not be started: {error}; install the sandbox extra again"
                ) from error
        self._server = server
        assert watch.stdin is not None
        watch.stdin.write(b"%d\n" % server.pid)
        watch.stdin.flush()
        try:
            self._await(ready, server, seconds)
        except BaseException:
            self.end(signal.SIGKILL, seconds=30)
            raise

    def end(self, how: signal.Signals, *, seconds: float) -> None:
        """Sends ``how`` and waits for the end; one that is not running is left alone.

        Raises ServiceUnavailable when it did not end within ``seconds`` and had to be killed.
        """
        server = self._server
        if server is None:
            return
        try:
            server.send_signal(how)
            server.wait(seconds)
        except subprocess.TimeoutExpired as error:
            server.kill()
            server.wait()
            raise ServiceUnavailable(
                f"{self._title} did not stop within {seconds:g} s of {how.name} and was killed; "
                f"see {self._log}"
            ) from error
        finally:
            self._let_go()

    def _await(
        self,
        ready: Callable[[int], bool],
        server: subprocess.Popen[bytes],
        seconds: float,
    ) -> None:
        deadline = time.monotonic() + seconds
        while True:
            status = server.poll()
            if status is not None:
                raise ServiceUnavailable(
                    f"{self._title} ended while starting (status {status}): "
                    f"{self._why()} (see {self._log})"
                )
            if ready(server.pid):
                return
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"{self._title} was not ready within {seconds:g} s: "
                    f"{self._why()} (see {self._log})"
                )
            time.sleep(0.02)

    def _why(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return telling_line(log.read().decode(errors="replace"), self._alarm)

    def _let_go(self) -> None:
        # The shell is killed before its pipe closes, so that it never signals a process id that
        # somebody else may have by now.
        watch, self._watch, self._server = self._watch, None, None
        if watch is None:
            return
        watch.kill()
        watch.wait()
        assert watch.stdin is not None
        watch.stdin.close()


def telling_line(output: str, alarm: re.Pattern[str]) -> str:
    """The last line of ``output`` that ``alarm`` finds, else the last one that is not blank."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    alarming = [line for line in lines if alarm.search(line)]
    return (alarming or lines or ["it wrote nothing"])[-1]
