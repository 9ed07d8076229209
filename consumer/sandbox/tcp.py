"""Choosing a TCP port on loopback for a server that must be told its port before it starts."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range that systems hand out to outgoing connections (from 32768 on Linux): a client
# that keeps dialling a stopped server there can connect to itself and so occupy the port.
_PORTS = range(15_000, 32_000)
_TRIES = 50


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens at this moment; OSError when none was found.

    Nobody keeps it free: start the server at once.
    """
    for port in random.sample(_PORTS, _TRIES):
        if is_free(port):
            return port
    raise OSError(f"none of {_TRIES} ports tried on {LOOPBACK} was free; stop some local servers")


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of 127.0.0.1 at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that just ended are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
