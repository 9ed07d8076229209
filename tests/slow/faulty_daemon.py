"""The real daemon, in which two things go wrong on a signal that no service can make go wrong.

SIGUSR1 blocks the event loop for ``BLOCKED`` seconds. SIGUSR2 makes intake stick: from then on
Kafka's client never gives a batch back.
"""

import asyncio
import signal
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from consumer.cli import main

BLOCKED = 8.0


def _stick(*_: object) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    AIOKafkaConsumer.getmany = never


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(BLOCKED))
    signal.signal(signal.SIGUSR2, _stick)
    main()
