"""Which addresses may be reached: public ones, and those that the operator allows.

A base URL is an operator's text and DNS is a stranger's, so the address itself is checked
where the socket is made: no name, literal, redirect or later answer of DNS gets round it.
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

Address = IPv4Address | IPv6Address
NetworkRange = IPv4Network | IPv6Network

REFUSED: Final = "address not allowed"

_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
"""All that IANA has given to anybody; the old site-local addresses look public and are not."""
_SPECIAL: Final = (
    IPv4Network("168.63.129.16/32"),  # Azure's metadata; all others' are link-local or private
    # What ``ipaddress`` calls public in some releases of Python:
    IPv4Network("192.0.0.0/24"),  # protocol assignments, Oracle's metadata among them
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("3fff::/20"),  # documentation
)


class AddressRefused(OSError):
    """The address is neither public nor allowed."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, REFUSED)


class AllowedAddresses:
    """Makes sockets for addresses that may be reached, and refuses all others."""

    def __init__(self, allowed: Iterable[NetworkRange]) -> None:
        self._allowed: Final = tuple(allowed)

    def allows(self, address: Address) -> bool:
        inner = _embedded(address)
        if any(a in network for network in self._allowed for a in (address, inner)):
            return True
        return (
            inner.is_global
            and not inner.is_multicast
            and not inner.is_reserved
            and not any(inner in network for network in _SPECIAL)
            and (isinstance(inner, IPv4Address) or inner in _UNICAST)
        )

    def socket(self, info: tuple[Any, Any, Any, Any, Any]) -> socket.socket:
        """aiohttp's socket factory; raises ``AddressRefused``."""
        family, kind, protocol, _, peer = info
        address = ip_address(str(peer[0]).partition("%")[0])
        if not self.allows(address):
            raise AddressRefused
        return socket.socket(family, kind, protocol)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
