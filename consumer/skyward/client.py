"""One district's run against its Skyward: writes that become outcomes, reads that become rows.

A write is a PUT or DELETE under an id that is ours, so that repeating it is harmless: after
a lost answer it is simply sent again, a few times, and then carried to the next night.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar

import httpx
from msgspec.structs import replace
from yarl import URL

from consumer import oneroster
from consumer.district import Skyward as Settings
from consumer.errors import DistrictStopped
from consumer.gradebook import (
    REASONS,
    AcademicSession,
    Kind,
    LineItem,
    Outcome,
    Reason,
    Result,
    Scope,
)
from consumer.oneroster import (
    Answer,
    Bodies,
    HeldLineItem,
    HeldResult,
    Operation,
    Page,
    Paths,
    SchoolClass,
    read_answer,
)
from consumer.skyward.limiter import Limiter
from consumer.skyward.network import Headers, Network, Reply, Transport, Unanswered, request_of
from consumer.skyward.token import Bearer, Token

Observe = Callable[[str, str, float], None]
Row = TypeVar("Row")

_WRITE_BOUND: Final = 1024 * 1024
_PAGE_BOUND: Final = 16 * 1024 * 1024
_MOST_PAGES: Final = 10_000
_MOST_ROWS: Final = 200_000
"""Of one list that is kept whole: more classes than any district has."""

_TRIES: Final = 3
_TRIES_THROTTLED: Final = 5
_TROUBLED_LINE_ITEMS: Final = 3
"""Over so many line items in a row without one answer, the trouble is the server's."""
_NOT_THERE: Final = frozenset({404, 410})
_NOT_OFFERED: Final = frozenset({404, 405, 410, 501})
# What one class is refused with says nothing of the district; its own writes will tell.
_NOT_FOR_THIS_CLASS: Final = _NOT_OFFERED | {400, 403, 409, 422}
_FINAL: Final = frozenset({"tls", "refused_address"})
_NEXT: Final = re.compile(r'rel\s*=\s*"?next\b', re.IGNORECASE)
_TROUBLED: Final = (Reason.SKYWARD_UNAVAILABLE, Reason.THROTTLED)


class Skyward:
    """The Skyward of one district during one run; made by ``connect``.

    A write raises only ``LeaseLost`` (see ``write_while``): what became of it is its
    ``Outcome``, and one of scope district ends the run (every later write gets it at once). A
    read raises ``DistrictStopped``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Transport,
        token: Token,
        observe: Observe,
        throttled: Callable[[float], None],
        now: Callable[[], datetime],
        backoff: float,
    ) -> None:
        self._paths: Final = Paths(
            settings.base_url, settings.oneroster_version, settings.path_style
        )
        self._bodies: Final = Bodies(self._paths, settings.wire_form)
        self._base_url: Final = settings.base_url
        self._page_size: Final = settings.page_size
        self._transport: Final = transport
        self._token: Final = token
        self._observe: Final = observe
        self._throttled: Final = throttled
        self._now: Final = now
        self._backoff: Final = backoff
        self._limiter: Final = Limiter(settings.max_concurrency)
        self._loop: Final = asyncio.get_running_loop()
        self._origin: Final = URL(self._paths.origin)
        self._origin_httpx: Final = httpx.URL(self._paths.origin)
        self._origin_length: Final = len(self._paths.origin)
        # The line items over which writes failed without one answer in between.
        self._troubled: Final = set[str]()
        self._stopped: Outcome | None = None
        self._lease_is_over: Callable[[], bool] = lambda: False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: Settings,
        key: str,
        secret: str,
        *,
        network: Network,
        observe: Observe = lambda operation, code, seconds: None,
        throttled: Callable[[float], None] = lambda seconds: None,
        token_lasts: Callable[[float], None] = lambda seconds: None,
        now: Callable[[], datetime],
        user_agent: str = "skyward-passback",
        delete: bool = False,
        backoff: float = 0.5,
    ) -> AsyncIterator["Skyward"]:
        """Readies one run; asks nothing yet.

        ``observe`` is told each request's operation, status or failure, and seconds;
        ``throttled`` the seconds of each pause that Skyward asked for; ``token_lasts`` for how
        many seconds a token that was just fetched is good.
        ``now`` is asked only where a Retry-After names a date in an answer without a Date.
        ``delete`` asks for the scope to delete. ``backoff`` is in seconds.
        Raises ``DistrictStopped`` for plain http that is not allowed, or a bad ``ca_file``.
        """
        for name in ("base_url", "token_url"):
            if not network.allow_http and not getattr(settings, name).lower().startswith(
                "https://"
            ):
                raise DistrictStopped(
                    Reason.SKYWARD_UNAVAILABLE,
                    f"{name} is plain http, which would show the secret to anyone; use https",
                )
        transport = network.transport(settings.ca_file)
        try:
            token = Token(
                settings,
                key,
                secret,
                transport=transport,
                observe=observe,
                lasts=token_lasts,
                delete=delete,
                backoff=backoff,
                user_agent=user_agent,
            )
            skyward = cls(
                settings,
                transport=transport,
                token=token,
                observe=observe,
                throttled=throttled,
                now=now,
                backoff=backoff,
            )
        except (ValueError, httpx.InvalidURL):
            # Names of hosts are read by several standards, and a file's is not the strictest.
            raise DistrictStopped(
                Reason.SKYWARD_UNAVAILABLE,
                "base_url or token_url is no valid URL; correct it and apply the district again",
            ) from None
        yield skyward

    @property
    def concurrency(self) -> int:
        """How many requests the limiter lets run side by side now."""
        return self._limiter.limit

    def write_while(self, lease_is_over: Callable[[], bool]) -> None:
        """From now on no write begins, and none is repeated, once the lease is over."""
        self._lease_is_over = lease_is_over

    # --- writes ---------------------------------------------------------------------------

    async def put_line_item(self, item: LineItem) -> Outcome:
        return await self._write(
            Operation.PUT_LINE_ITEM,
            self._paths.line_item(item.sourced_id),
            self._bodies.line_item(item),
            item.sourced_id,
            item.category_sourced_id,
            line_item=item.sourced_id,
        )

    async def put_result(self, result: Result) -> Outcome:
        return await self._write(
            Operation.PUT_RESULT,
            self._paths.result(result.sourced_id),
            self._bodies.result(result),
            result.sourced_id,
            line_item=result.line_item_sourced_id,
        )

    async def delete_line_item(self, sourced_id: str) -> Outcome:
        """Posted as well where Skyward did not know it (any more)."""
        url = self._paths.line_item(sourced_id)
        operation = Operation.DELETE_LINE_ITEM
        return await self._write(operation, url, None, sourced_id, line_item=sourced_id)

    async def delete_result(self, sourced_id: str) -> Outcome:
        """Posted as well where Skyward did not know it (any more)."""
        url = self._paths.result(sourced_id)
        operation = Operation.DELETE_RESULT
        return await self._write(operation, url, None, sourced_id, line_item=sourced_id)

    # --- reads ----------------------------------------------------------------------------

    async def reach(self) -> None:
        """Asks the base URL without a token: any answer shows its name, address and TLS right.

        Raises ``DistrictStopped`` where none comes.
        """
        headers = Headers.of({"Accept": "application/json"})
        url = httpx.URL(self._base_url)
        request = request_of("GET", url, URL(str(url), encoded=True), headers, None)
        try:
            await self._transport.ask(request, _WRITE_BOUND)
        except Unanswered as error:
            raise DistrictStopped(Reason.SKYWARD_UNAVAILABLE, error.detail) from None

    @property
    def asked_scopes(self) -> tuple[str, ...]:
        """The scopes that a token is asked for."""
        return self._token.asked

    async def granted_scopes(self) -> frozenset[str] | None:
        """Fetches a token; the scopes it was granted, None where the server does not say."""
        return (await self._token.fetch()).granted

    async def read_sessions(self) -> list[AcademicSession]:
        """Grading periods and, where Skyward shows them, the sessions that they lie under."""
        paths = self._paths
        found: dict[str, AcademicSession] = {}
        others = await self._list(
            "get_sessions", paths.academic_sessions(), oneroster.read_sessions, _NOT_OFFERED
        )
        if others is None:
            others = await self._list("get_terms", paths.terms(), _read_terms, _NOT_OFFERED)
        periods = await self._list(
            "get_grading_periods", paths.grading_periods(), _read_periods, _NOT_OFFERED
        )
        if periods is None and not others:
            raise DistrictStopped(
                Reason.SKYWARD_UNAVAILABLE,
                "Skyward shows no grading periods at the address; check base_url and path_style",
            )
        for session in (others or []) + (periods or []):
            found[session.sourced_id] = session
        return list(found.values())

    async def read_categories(self) -> frozenset[str]:
        """The active district-level categories."""
        rows = await self._list(
            "get_categories", self._paths.categories(), oneroster.read_categories
        )
        return frozenset(row.sourced_id for row in rows or () if row.active)

    async def read_class_categories(self, class_id: str) -> frozenset[str] | None:
        """The categories active in one class; None where Skyward does not offer the list."""
        rows = await self._list(
            "get_class_categories",
            self._paths.class_categories(class_id),
            oneroster.read_categories,
            _NOT_FOR_THIS_CLASS,
        )
        if rows is None:
            return None
        return frozenset(row.sourced_id for row in rows if row.active)

    async def read_classes(self) -> Mapping[str, tuple[str, ...]]:
        """The terms of each active class."""
        rows = await self._list("get_classes", self._paths.classes(), oneroster.read_classes)
        return {row.sourced_id: row.term_ids for row in rows or () if row.active}

    async def read_class(self, class_id: str) -> SchoolClass | None:
        url = self._paths.class_(class_id)
        return await self._single("get_class", url, oneroster.read_class, _NOT_FOR_THIS_CLASS)

    async def read_line_item(self, sourced_id: str) -> HeldLineItem | None:
        url = self._paths.line_item(sourced_id)
        return await self._single("get_line_item", url, oneroster.read_line_item)

    async def read_result(self, sourced_id: str) -> HeldResult | None:
        url = self._paths.result(sourced_id)
        return await self._single("get_result", url, oneroster.read_result)

    async def read_class_line_items(self, class_id: str) -> list[HeldLineItem]:
        """The active line items of one class, none where Skyward does not know the class."""
        url = self._paths.class_line_items(class_id)
        rows = await self._list("get_class_line_items", url, oneroster.read_line_items, _NOT_THERE)
        # Not every server filters by the path: look again.
        return [r for r in rows or () if r.active and r.class_sourced_id in (None, class_id)]

    async def read_class_results(
        self, class_id: str, line_item_ids: Sequence[str]
    ) -> AsyncIterator[HeldResult]:
        """The active results of these line items of one class, each asked for where the server
        does not list a class's.
        """
        url = self._paths.class_results(class_id)
        wanted = set(line_item_ids)
        async for page in self._pages(
            "get_class_results", url, oneroster.read_results, _NOT_OFFERED
        ):
            if page is None:
                for line_item_id in line_item_ids:
                    async for row in self.read_results_of(class_id, line_item_id):
                        yield row._replace(line_item_sourced_id=line_item_id)
                return
            for row in page:
                if row.active and row.line_item_sourced_id in wanted:
                    yield row

    async def read_results_of(self, class_id: str, line_item_id: str) -> AsyncIterator[HeldResult]:
        """The active results of one line item, none where Skyward does not know it."""
        url = self._paths.line_item_results(class_id, line_item_id)
        async for page in self._pages("get_results", url, oneroster.read_results, _NOT_THERE):
            for row in page or ():
                if _is_of(row, line_item_id):
                    yield row

    async def read_results_shown(self, class_id: str, line_item_id: str) -> list[HeldResult] | None:
        """The active results of one line item; None where Skyward does not show them to us."""
        url = self._paths.line_item_results(class_id, line_item_id)
        rows = await self._list("get_results", url, oneroster.read_results, _NOT_FOR_THIS_CLASS)
        return None if rows is None else [r for r in rows if _is_of(r, line_item_id)]

    async def read_students(self, class_id: str) -> frozenset[str] | None:
        """The active students of one class; None where Skyward does not know the class."""
        url = self._paths.class_students(class_id)
        rows = await self._list("get_students", url, oneroster.read_users, _NOT_THERE)
        return None if rows is None else frozenset(rows)

    async def _list(
        self,
        name: str,
        url: str,
        read: Callable[[bytes], Page[Row] | None],
        absent: frozenset[int] = frozenset(),
    ) -> list[Row] | None:
        rows: list[Row] = []
        async for page in self._pages(name, url, read, absent):
            if page is None:
                return None
            rows += page
            if len(rows) > _MOST_ROWS:
                raise DistrictStopped(
                    Reason.SKYWARD_UNAVAILABLE,
                    f"Skyward lists more than {_MOST_ROWS} rows ({name}); check base_url",
                )
        return rows

    async def _single(
        self,
        name: str,
        url: str,
        read: Callable[[bytes], Row | None],
        absent: frozenset[int] = _NOT_THERE,
    ) -> Row | None:
        reply = await self._read(name, url, absent)
        if reply is None:
            return None
        found = read(reply.body)
        if found is None:
            raise _unreadable(name)
        return found

    async def _pages(
        self,
        name: str,
        url: str,
        read: Callable[[bytes], Page[Row] | None],
        absent: frozenset[int],
    ) -> AsyncIterator[list[Row] | None]:
        """Each page's good rows, to the end; None at once where the list is absent."""
        offset = 0
        before = b""
        for _ in range(_MOST_PAGES):
            reply = await self._read(name, f"{url}?limit={self._page_size}&offset={offset}", absent)
            if reply is None:
                yield None
                return
            page = read(reply.body)
            if page is None:
                raise _unreadable(name)
            if page.seen and reply.body == before:
                raise DistrictStopped(
                    Reason.SKYWARD_UNAVAILABLE,
                    f"Skyward repeats one page for ever ({name}); raise page_size above the total",
                )
            yield page.rows
            offset += page.seen
            if not self._more(reply, page.seen, offset):
                return
            before = reply.body
        raise DistrictStopped(
            Reason.SKYWARD_UNAVAILABLE, f"Skyward's pages do not end ({name}); raise page_size"
        )

    def _more(self, reply: Reply, seen: int, offset: int) -> bool:
        # A server may cap pages below what we ask for, so a short page ends the list only
        # where it says nothing better. Its link is never followed: the token stays with us.
        total = reply.header("x-total-count").strip()
        if not seen:
            return False
        if total.isascii() and total.isdigit() and len(total) < 12:
            return offset < int(total)
        if "link" in reply.headers:
            return _NEXT.search(reply.header("link")) is not None
        return seen == self._page_size

    async def _read(self, name: str, url: str, absent: frozenset[int]) -> Reply | None:
        """The answer with a body, None for a status in ``absent``."""
        if self._stopped is not None:
            raise DistrictStopped(
                self._stopped.reason or Reason.SKYWARD_UNAVAILABLE, self._stopped.detail
            )
        reply, outcome = await self._persist(name, "GET", url, None, _PAGE_BOUND, self._judge_read)
        if reply is not None and reply.status in absent:
            return None
        if reply is None or outcome.kind is not Kind.POST:
            reason = outcome.reason
            if reason is Reason.FORBIDDEN:
                reason = Reason.LICENCE_MISSING
            elif reason is None or reason.kind is not Kind.DEFER:
                reason = Reason.SKYWARD_UNAVAILABLE
            raise DistrictStopped(reason, f"{outcome.detail} ({name})")
        if reply.oversized:
            raise DistrictStopped(
                Reason.SKYWARD_UNAVAILABLE,
                f"Skyward answered with more than 16 MiB at once ({name}); lower page_size",
            )
        return reply

    def _judge_read(self, reply: Reply) -> Answer:
        return read_answer(
            Operation.READ, reply.status, reply.headers, reply.body[:4096], now=self._now()
        )

    # --- one request, with patience -------------------------------------------------------

    async def _write(
        self,
        operation: Operation,
        url: str,
        content: bytes | None,
        sourced_id: str,
        category: str = "",
        *,
        line_item: str,
    ) -> Outcome:
        if self._stopped is not None:
            return self._stopped

        def judge(reply: Reply) -> Answer:
            return read_answer(
                operation,
                reply.status,
                reply.headers,
                reply.body,
                now=self._now(),
                sourced_id=sourced_id,
                category=category,
            )

        method = "DELETE" if content is None else "PUT"
        _, outcome = await self._persist(operation, method, url, content, _WRITE_BOUND, judge)
        if outcome.reason not in _TROUBLED:
            self._troubled.clear()
        else:
            self._troubled.add(line_item)
            if len(self._troubled) >= _TROUBLED_LINE_ITEMS:
                outcome = replace(outcome, scope=Scope.DISTRICT)
        if outcome.scope is Scope.DISTRICT and self._stopped is None:
            self._stopped = replace(outcome, unknown=False, allocated_id=None)
            self._limiter.open()
        return outcome

    async def _persist(
        self,
        name: str,
        method: str,
        url: str,
        content: bytes | None,
        bound: int,
        judge: Callable[[Reply], Answer],
    ) -> tuple[Reply | None, Outcome]:
        """Asks until there is a lasting answer or patience ends; the last answer of all."""
        failures = throttled = 0
        unknown = False
        while True:
            reply: Reply | None = None
            try:
                reply = await self._ask(name, method, url, content, bound)
            except Unanswered as error:
                scope = Scope.DISTRICT if error.code in _FINAL else Scope.ITEM
                answer = Answer(
                    Outcome(
                        Kind.DEFER,
                        Reason.SKYWARD_UNAVAILABLE,
                        error.detail,
                        scope,
                        unknown=error.sent,
                    )
                )
            except DistrictStopped as stopped:
                reason = REASONS[stopped.reason]
                return None, Outcome(
                    Kind.DEFER, reason, stopped.detail, Scope.DISTRICT, unknown=unknown
                )
            else:
                answer = judge(reply)
            outcome = answer.outcome
            if outcome.reason not in _TROUBLED:
                return reply, outcome
            unknown = unknown or outcome.unknown
            if outcome.reason is Reason.THROTTLED:
                throttled += 1
                self._limiter.strained()
            else:
                failures += 1
            done = failures >= _TRIES or throttled >= _TRIES_THROTTLED
            if done or outcome.scope is Scope.DISTRICT or self._stopped is not None:
                return reply, replace(outcome, unknown=unknown)
            wait = random.uniform(0, self._backoff * 2.0 ** (failures + throttled - 1))
            if answer.retry_after is not None:
                self._throttled(self._limiter.pause(answer.retry_after))
            elif outcome.reason is Reason.THROTTLED:
                self._throttled(self._limiter.pause(wait))
            else:
                await asyncio.sleep(wait)

    async def _ask(
        self, name: str, method: str, url: str, content: bytes | None, bound: int
    ) -> Reply:
        """One request within the limit, with a new token once where the old is refused."""
        # What is read is waited for by much that was written, or is to be.
        await self._limiter.acquire(first=method == "GET")
        try:
            if self._stopped is not None:
                raise DistrictStopped(
                    self._stopped.reason or Reason.SKYWARD_UNAVAILABLE, self._stopped.detail
                )
            bearer = self._token.current() or await self._token.fetch()
            reply = await self._send(name, method, url, content, bound, bearer)
            if reply.status == 401:
                bearer = await self._token.fetch(refused=bearer)
                reply = await self._send(name, method, url, content, bound, bearer)
            return reply
        finally:
            self._limiter.release()

    async def _send(
        self, name: str, method: str, url: str, content: bytes | None, bound: int, bearer: Bearer
    ) -> Reply:
        path, _, query = url[self._origin_length :].partition("?")
        target = self._origin.with_path(path, encoded=True)
        request = request_of(
            method,
            self._origin_httpx,
            target.with_query(query) if query else target,
            bearer.reading if content is None else bearer.writing,
            content,
            None if method == "GET" else self._lease_is_over,
        )
        started = self._loop.time()
        code = "cancelled"
        try:
            reply = await self._transport.ask(request, bound)
            code = str(reply.status)
        except Unanswered as error:
            code = error.code
            raise
        finally:
            seconds = self._loop.time() - started
            self._observe(name, code, seconds)
        if reply.status < 500 and reply.status != 429:
            self._limiter.answered(seconds)
        return reply


def _is_of(row: HeldResult, line_item_id: str) -> bool:
    # Not every server filters by the path: look again.
    return row.active and row.line_item_sourced_id in (None, line_item_id)


def _read_terms(body: bytes) -> Page[AcademicSession] | None:
    return oneroster.read_sessions(body, kind="term")


def _read_periods(body: bytes) -> Page[AcademicSession] | None:
    return oneroster.read_sessions(body, kind="gradingPeriod")


def _unreadable(name: str) -> DistrictStopped:
    return DistrictStopped(
        Reason.SKYWARD_UNAVAILABLE,
        f"Skyward answered with something that is not OneRoster ({name}); "
        "check base_url, oneroster_version and path_style",
    )
