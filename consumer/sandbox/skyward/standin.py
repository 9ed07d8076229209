"""Starting the stand-in Skyward as a process, and driving it from a test or the demo."""

import http.client
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_START_SECONDS = 20.0
_CONTROL_SECONDS = 60.0


class StandInError(Exception):
    """The stand-in did not start, or refused a control call; the message says why."""


class BackDoor:
    """The control calls of a stand-in on a loopback port; see control.py for what there is."""

    def __init__(self, port: int) -> None:
        self._port = port

    def call(self, method: str, path: str, content: Any = None) -> Any:
        return json.loads(b"".join(self.lines(method, path, content)) or b"null")

    def lines(self, method: str, path: str, content: Any = None) -> Iterator[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_CONTROL_SECONDS)
        try:
            body = None if content is None else json.dumps(content, default=_plain)
            connection.request(method, f"/_control/{path}", body)
            answer = connection.getresponse()
            if answer.status >= 400:
                said = answer.read().decode()
                raise StandInError(f"{method} {path}: the stand-in Skyward refused it: {said}")
            yield from answer
        except OSError as error:
            raise StandInError(
                f"{method} {path}: the stand-in Skyward on port {self._port} does not answer"
                f" ({error}); start it first"
            ) from error
        finally:
            connection.close()


class StandIn:
    """A stand-in Skyward in a process of its own, on loopback.

    It ends with this process, however that ends. All calls block for some milliseconds; from a
    coroutine that others depend on, use `asyncio.to_thread`.
    """

    def __init__(
        self,
        roster: Path,
        journal: Path,
        *,
        port: int = 0,
        today: date | None = None,
        settings: Mapping[str, Any] | None = None,
        district: str = "district",
    ) -> None:
        """roster: OneRoster CSV folder; journal: file to append to; settings: see behaviour.py."""
        self.journal = journal
        self.port = port
        self._roster = roster
        self._today = today
        self._settings = dict(settings or {})
        self._name = district
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Returns when it serves; StandInError when it does not within 20 s. The port is kept."""
        if self._process is not None:
            raise StandInError("the stand-in Skyward runs already; stop it first")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as settings:
            json.dump(self._settings, settings)
            settings.flush()
            command = [sys.executable, "-m", "consumer.sandbox.skyward", "--end-with-stdin"]
            command += ["--roster", str(self._roster), "--journal", str(self.journal)]
            command += ["--port", str(self.port), "--district", self._name]
            command += ["--settings", settings.name]
            if self._today is not None:
                command += ["--today", self._today.isoformat()]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ready = self._first_line(self._process)
        self.port = int(ready["port"])
        return self

    def _first_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline() if readable else b""
        if not line:
            self.kill()
            raise StandInError(
                f"the stand-in Skyward did not start within {_START_SECONDS:.0f} s;"
                " what it printed on stderr says why"
            )
        ready: dict[str, Any] = json.loads(line)
        return ready

    def stop(self) -> None:
        """Ends it in order, with the journal written; nothing when it does not run."""
        if self._process is not None:
            self._process.terminate()
            self._ended()

    def kill(self) -> None:
        """Ends it as a power cut would; up to 50 ms of the journal and all state are lost."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def _ended(self) -> None:
        assert self._process is not None
        process, self._process = self._process, None
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _door(self) -> BackDoor:
        return BackDoor(self.port)

    @property
    def pid(self) -> int:
        """The process's id; StandInError when it does not run."""
        if self._process is None:
            raise StandInError("the stand-in Skyward does not run; start it first")
        return self._process.pid

    @property
    def base_url(self) -> str:
        """The first district's base URL, with a slash at the end."""
        return self.district().base_url

    @property
    def token_url(self) -> str:
        """The first district's token URL."""
        return self.district().token_url

    def district(self, name: str | None = None) -> "StandInDistrict":
        """A district that exists, by default the first."""
        wanted = name or self._name
        for found in self._door.call("GET", "districts"):
            if found["district"] == wanted:
                return self._introduced(found)
        raise StandInError(f"the stand-in Skyward hosts no district {wanted}")

    def add_district(
        self,
        name: str,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        roster: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> "StandInDistrict":
        """A further district, or an old one begun anew; its settings add to those of the start."""
        new = {
            "district": name,
            "client_id": client_id,
            "client_secret": client_secret,
            "roster": None if roster is None else str(roster),
            "settings": dict(settings or {}),
        }
        return self._introduced(self._door.call("POST", "districts", new))

    def _introduced(self, found: Mapping[str, str]) -> "StandInDistrict":
        origin = f"http://127.0.0.1:{self.port}"
        return StandInDistrict(
            back_door=self._door,
            name=found["district"],
            client_id=found["client_id"],
            client_secret=found["client_secret"],
            base_url=origin + found["base_path"],
            token_url=origin + found["token_path"],
        )

    def journal_position(self) -> int:
        """The seq of the last request that arrived; the journal's file is written up to now."""
        return int(self._door.call("GET", "journal")["seq"])

    def journal_lines(self, *, after: int = 0) -> list[dict[str, Any]]:
        """The journal's lines with a seq above `after`, in the order of arrival."""
        if self._process is not None:
            self.journal_position()
        with self.journal.open("rb") as lines:
            found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return sorted((line for line in found if line["seq"] > after), key=lambda one: one["seq"])


@dataclass(frozen=True)
class StandInDistrict:
    """One district of a stand-in: where it is, who may call it, and what it shall do."""

    back_door: BackDoor
    name: str
    client_id: str
    client_secret: str
    base_url: str
    token_url: str

    def configure(self, **settings: Any) -> dict[str, Any]:
        """Changes settings (behaviour.Settings) from the next request on; returns all of them."""
        return dict(self._call("PATCH", "settings", settings))

    def settings(self) -> dict[str, Any]:
        return dict(self._call("GET", "settings"))

    def fault(self, kind: str, **fault: Any) -> None:
        """Plans a fault (behaviour.Fault), behind those planned before."""
        self._call("POST", "faults", {"kind": kind, **fault})

    def faults(self) -> list[dict[str, Any]]:
        """The faults still to come; `times` is what is left."""
        return list(self._call("GET", "faults"))

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def act(self, act: str, **details: Any) -> None:
        """Plays the teacher or the office: acts.py's names, as `act("moveLineItem", ...)`."""
        self._call("POST", "acts", {"act": act, **details})

    def regenerate_secret(self, *, revoke: bool = True) -> str:
        """A new secret in the place of the old; with revoke, tokens given out end too."""
        return str(self._call("POST", "secret", {"revoke": revoke})["client_secret"])

    def expire_tokens(self) -> None:
        self._call("DELETE", "tokens")

    def counts(self) -> dict[str, Any]:
        """line_items, results, tokens_issued, peak_concurrency, answers, grading_periods, today."""
        return dict(self._call("GET", ""))

    def gradebook(self) -> Iterator[dict[str, Any]]:
        """All line items, then all results, streamed; `kind` is lineItem or result."""
        return map(json.loads, self.gradebook_lines())

    def gradebook_lines(self) -> Iterator[bytes]:
        """The same as the NDJSON lines that arrive, undecoded."""
        return self.back_door.lines("GET", f"districts/{self.name}/gradebook")

    def empty_gradebook(self) -> None:
        self._call("DELETE", "gradebook")

    def _call(self, method: str, what: str, content: Any = None) -> Any:
        path = f"districts/{self.name}/{what}".removesuffix("/")
        return self.back_door.call(method, path, content)


def _plain(value: Any) -> Any:
    """Dates as ISO, sets as lists: what settings and acts hold beyond JSON."""
    return value.isoformat() if isinstance(value, date) else sorted(value)
