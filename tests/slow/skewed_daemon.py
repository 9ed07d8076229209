"""The real daemon on a machine whose clock is so many hours off: ``HOURS [alone] run``.

``alone``: it goes by that clock and asks no other, which must be noticed.
"""

import sys
from datetime import UTC, datetime, timedelta

from consumer import daemon
from consumer.cli import main
from consumer.store.clock import Clock

if __name__ == "__main__":
    off = timedelta(hours=float(sys.argv.pop(1)))
    daemon._now = lambda: datetime.now(UTC) + off
    if sys.argv[1] == "alone":
        sys.argv.pop(1)
        Clock.now = lambda self: self._machine()  # type: ignore[method-assign]
    main()
