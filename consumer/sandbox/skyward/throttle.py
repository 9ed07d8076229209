"""The limits that a Skyward sets on its callers."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from consumer.sandbox.skyward.behaviour import Settings
from consumer.sandbox.skyward.refusal import Refusal


class Throttle:
    """Counts one district's requests; `in_flight` and `peak` are for whoever checks the caller."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.peak = 0
        self._allowance = 0.0
        self._asked_at = 0.0

    def enter(self) -> None:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def leave(self) -> None:
        self.in_flight -= 1

    def check(self, settings: Settings) -> None:
        """Raises a 429 Refusal when the request that entered last is one too many.

        requests_per_second is a bucket that holds one second's worth and fills steadily.
        """
        if settings.max_concurrent is not None and self.in_flight > settings.max_concurrent:
            raise _too_many(settings, f"more than {settings.max_concurrent} requests at once")
        rate = settings.requests_per_second
        if rate is None:
            return
        now = time.monotonic()
        self._allowance = min(max(rate, 1.0), self._allowance + (now - self._asked_at) * rate)
        self._asked_at = now
        if self._allowance < 1:
            raise _too_many(settings, f"more than {rate:g} requests a second")
        self._allowance -= 1


def _too_many(settings: Settings, description: str) -> Refusal:
    headers = {}
    if settings.retry_after is not None:
        headers["Retry-After"] = str(settings.retry_after)
        if settings.retry_after_form == "date":
            moment = datetime.now(UTC) + timedelta(seconds=settings.retry_after)
            headers["Retry-After"] = format_datetime(moment, usegmt=True)
    return Refusal(429, "server_busy", description, headers)
