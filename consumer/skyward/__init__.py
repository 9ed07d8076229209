"""Every request to Skyward: tokens, limits, writes and read-backs of one district's run.

``Network`` is the process's: connections, TLS, and which addresses may be reached.
``Skyward`` is one run's: it keeps the pace that its server bears and says when to stop.
"""

from consumer.skyward.client import Skyward
from consumer.skyward.network import Network

__all__ = ["Network", "Skyward"]
