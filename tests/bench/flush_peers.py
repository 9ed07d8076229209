"""What the flush is compared with: the least that posts the same bodies over as many connections.

``bare``: an ``httpx.Request`` each, straight to httpx-aiohttp's transport, and nothing else.
``claim_put_settle``: plain aiohttp, and a claim and a settling a batch on the same table.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import aiohttp
import asyncpg
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from tests.bench.nights import CONNECTIONS
from tests.bench.processes import told

_BATCH: Final = 500
_HEADERS: Final = {"Authorization": "Bearer t", "Content-Type": "application/json"}


def _body(sourced_id: str, item: str, student: str, score: Decimal, at: datetime) -> bytes:
    line_item = {"href": f"/lineItems/{item}", "sourcedId": item, "type": "lineItem"}
    user = {"href": f"/users/{student}", "sourcedId": student, "type": "user"}
    result = {
        "sourcedId": sourced_id,
        "status": "active",
        "dateLastModified": at.isoformat(),
        "lineItem": line_item,
        "student": user,
        "scoreStatus": "fully graded",
        "score": int(score),
        "scoreDate": at.date().isoformat(),
    }
    return json.dumps({"result": result}).encode()


async def bare(origin: str, results: str) -> None:
    """So many results, all with one body."""
    numbers = iter(range(int(results)))
    body = _body("r" * 36, "i" * 36, "s" * 36, Decimal(7), datetime.now(UTC))
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    transport = AiohttpTransport(client=session)

    async def work() -> None:
        for number in numbers:
            request = httpx.Request(
                "PUT",
                f"{origin}/ok/bare/ims/oneroster/v1p2/results/{number:036d}",
                headers=_HEADERS,
                content=body,
            )
            response = await transport.handle_async_request(request)
            await response.aread()
            assert response.status_code == 201

    began = time.perf_counter(), time.process_time()
    async with transport:
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    _tell(int(results), began)


async def claim_put_settle(origin: str, url: str, district_id: str) -> None:
    """Everything that waits in the district, 500 rows a batch."""
    after = ("", "", "")
    results = 0
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        asyncpg.create_pool(url, min_size=1) as pool,
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        began = time.perf_counter(), time.process_time()
        while rows := await pool.fetch(_CLAIM, district_id, *after, _BATCH):
            after = tuple(rows[-1])[:3]
            waiting = iter(rows)
            await asyncio.gather(*(_put(session, origin, waiting) for _ in range(CONNECTIONS)))
            await pool.execute(_SETTLE, district_id, datetime.now(UTC), *_columns(rows))
            results += len(rows)
        _tell(results, began)


def _tell(results: int, began: tuple[float, float]) -> None:
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(json.dumps(told(results, seconds, cpu)))


async def _put(session: aiohttp.ClientSession, origin: str, waiting: Iterator[Any]) -> None:
    for assessment, class_id, student, score, changed_at, _ in waiting:
        url = f"{origin}/ok/peer/ims/oneroster/v1p2/results/{assessment}-{class_id}-{student}"
        body = _body(student, assessment, student, score, changed_at)
        async with session.put(url, data=body, headers=_HEADERS) as response:
            assert response.status == 201
            await response.read()


def _columns(rows: Sequence[Any]) -> list[list[Any]]:
    return [
        list(column) for column in zip(*((r[0], r[1], r[2], r[3], r[5]) for r in rows), strict=True)
    ]


_CLAIM: Final = """
SELECT assessment_id, class_id, student_id, score, changed_at, revision FROM grade
WHERE district_id = $1 AND decide_from IS NOT NULL
    AND (assessment_id, class_id, student_id) > ($2, $3, $4)
ORDER BY assessment_id, class_id, student_id LIMIT $5"""

_SETTLE: Final = """
UPDATE grade g SET state = 'posted', kind = 'post', decide_from = NULL, pending_since = NULL,
    sent_score = s.score, sent_status = 'fully graded', sent_origin = 'teacher', sent_at = $2
FROM unnest($3::text[], $4::text[], $5::text[], $6::numeric[], $7::int[])
    AS s (assessment_id, class_id, student_id, score, revision)
WHERE g.district_id = $1 AND g.assessment_id = s.assessment_id AND g.class_id = s.class_id
    AND g.student_id = s.student_id AND g.revision = s.revision"""


if __name__ == "__main__":
    _PEERS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "bare": bare,
        "aiohttp": claim_put_settle,
    }
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_PEERS[sys.argv[1]](*sys.argv[2:]))
