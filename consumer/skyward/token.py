"""The access token of one district: fetched when first needed, once for all who wait."""

import asyncio
import random
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlencode

import httpx
from yarl import URL

from consumer.district import Skyward as Settings
from consumer.errors import DistrictStopped
from consumer.gradebook import Reason
from consumer.oneroster import scopes
from consumer.oneroster.reading import document
from consumer.skyward.network import Headers, Reply, Transport, Unanswered, request_of

_TRIES: Final = 3
_BOUND: Final = 64 * 1024
_LIFETIME: Final = 1800.0
"""Seconds a token is believed in where the server does not say."""
_LONGEST: Final = 86_400.0
_MARGIN: Final = 60.0
_IN_A_HEADER: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)})


class Bearer(NamedTuple):
    """A token as the headers that carry it; ``expires_at`` is the event loop's time."""

    reading: Headers
    writing: Headers
    expires_at: float
    granted: frozenset[str] | None


class Token:
    """Gives the current ``Bearer``; raises ``DistrictStopped`` where there is none to be had.

    A failure is final for this run: whoever asks afterwards gets the same sentence at once.
    Making one raises ``ValueError`` or ``httpx.InvalidURL`` for a token URL that is none.
    """

    def __init__(
        self,
        settings: Settings,
        key: str,
        secret: str,
        *,
        transport: Transport,
        observe: Callable[[str, str, float], None],
        lasts: Callable[[float], None],
        delete: bool,
        backoff: float,
        user_agent: str,
    ) -> None:
        self._transport: Final = transport
        self._observe: Final = observe
        self._lasts: Final = lasts
        self._backoff: Final = backoff
        self._user_agent: Final = user_agent
        self._loop: Final = asyncio.get_running_loop()
        self._lock: Final = asyncio.Lock()
        self._bearer: Bearer | None = None
        self._failed: DistrictStopped | None = None
        asked = settings.scopes
        if asked is None:
            asked = scopes(settings.oneroster_version, delete=delete)
        self.asked: Final = asked
        form = {"grant_type": "client_credentials", "scope": " ".join(asked)}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
        }
        if settings.client_auth == "basic":
            both = b64encode(f"{key}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {both}"
        else:
            form |= {"client_id": key, "client_secret": secret}
        url = httpx.URL(settings.token_url)
        self._request: Final = request_of(
            "POST",
            url,
            URL(str(url), encoded=True),
            Headers.of(headers),
            urlencode(form).encode(),
        )

    def current(self) -> Bearer | None:
        """The token in hand, None where it is missing or about to expire."""
        bearer = self._bearer
        return bearer if bearer and self._loop.time() < bearer.expires_at else None

    async def fetch(self, refused: Bearer | None = None) -> Bearer:
        """The current token, or a new one where it is missing, expiring, or was ``refused``."""
        async with self._lock:
            if self._failed is not None:
                raise DistrictStopped(self._failed.reason, self._failed.detail)
            bearer = self.current()
            if bearer is None or bearer is refused:
                try:
                    bearer = self._bearer = await self._new()
                except DistrictStopped as stopped:
                    self._failed = stopped
                    raise
            return bearer

    async def _new(self) -> Bearer:
        tried = 1
        while True:
            try:
                reply = await self._ask()
            except Unanswered as error:
                if error.code in ("tls", "refused_address") or tried >= _TRIES:
                    raise _unavailable(error.detail) from None
            else:
                if reply.status not in _TRANSIENT:
                    return self._read(reply)
                if tried >= _TRIES:
                    raise _unavailable(f"the token endpoint answered {reply.status}")
            await asyncio.sleep(random.uniform(0, self._backoff * 2**tried))
            tried += 1

    async def _ask(self) -> Reply:
        started = self._loop.time()
        code = "cancelled"
        try:
            reply = await self._transport.ask(self._request, _BOUND)
            code = str(reply.status)
            return reply
        except Unanswered as error:
            code = error.code
            raise
        finally:
            self._observe("token", code, self._loop.time() - started)

    def _read(self, reply: Reply) -> Bearer:
        found = document(reply.body)
        said = found if isinstance(found, dict) else {}
        if reply.status in (400, 401, 403):
            if said.get("error") == "invalid_scope":
                raise DistrictStopped(
                    Reason.LICENCE_MISSING,
                    "Skyward does not grant this key the scopes to write grades; "
                    "check the LMS/OneRoster API licence of the district",
                )
            raise DistrictStopped(
                Reason.CREDENTIALS_REFUSED,
                f"Skyward refused the key and secret ({reply.status}); apply the district "
                "with the current ones, for a newly generated secret ends the old one at once",
            )
        if not 200 <= reply.status < 300:
            raise _unavailable(f"the token endpoint answered {reply.status}; check token_url")
        token = said.get("access_token")
        if not isinstance(token, str) or not _IN_A_HEADER.fullmatch(token):
            raise _unavailable("the token endpoint answered without a token; check token_url")
        lifetime = _seconds(said.get("expires_in"))
        self._lasts(lifetime)
        granted = said.get("scope")
        reading = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        return Bearer(
            reading=Headers.of(reading),
            writing=Headers.of({**reading, "Content-Type": "application/json"}),
            expires_at=self._loop.time() + lifetime - min(_MARGIN, lifetime / 10),
            granted=frozenset(granted.split()) if isinstance(granted, str) else None,
        )


def _seconds(said: object) -> float:
    if isinstance(said, str) and said.isascii() and said.isdigit():
        said = int(said[:9])
    if isinstance(said, int) and not isinstance(said, bool) and said > 0:
        return float(min(said, _LONGEST))
    return _LIFETIME


def _unavailable(what: str) -> DistrictStopped:
    return DistrictStopped(Reason.SKYWARD_UNAVAILABLE, f"no access token: {what}")
