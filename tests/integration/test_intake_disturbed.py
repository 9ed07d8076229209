"""Intake while Postgres says no or forgets to answer: what Kafka held is recorded once."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from consumer import intake, log
from consumer.sandbox.kafka import Kafka
from consumer.sandbox.postgres import Postgres
from consumer.store import recording
from consumer.store.connection import Pool, connect
from consumer.store.recording import Batch, Recorded, store_offsets
from tests.integration.test_intake import GRADES, Topics, graded, scores, until
from tests.integration.test_postgres_lost import PASSING
from tests.proxy import Proxy, Way
from tests.recordables import apply


@pytest.fixture(autouse=True)
def _strict_log() -> None:
    log.configure("json", "info", strict=True)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """The way to Postgres that nothing disturbs, with the district applied."""
    async with await connect(database_url, size=2) as opened:
        await apply(opened)
        yield opened


@pytest.fixture
def proxy(postgres_server: Postgres) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as built:
        yield built


@pytest.fixture
async def disturbed(pool: Pool, database_url: str, proxy: Proxy) -> AsyncIterator[Pool]:
    """Intake's own way to Postgres, through the proxy."""
    async with await connect(proxy.url(database_url), size=2) as opened:
        yield opened


@pytest.fixture
async def topics(kafka_broker: Kafka, topic_prefix: str) -> Topics:
    made = Topics(kafka_broker, topic_prefix)
    await made.make()
    return made


async def test_whatever_postgres_refuses_for_a_while_costs_intake_a_pause_and_nothing_else(
    pool: Pool, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_RETRY_PAUSES", (0.01,))
    await pool.execute(
        f"""
        CREATE SEQUENCE writes;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE code text := ('{{{",".join(PASSING)}}}'::text[])[nextval('writes')];
        BEGIN
            IF code IS NOT NULL THEN RAISE EXCEPTION 'refused' USING ERRCODE = code; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON grade
            FOR EACH STATEMENT EXECUTE FUNCTION refuse();
        """
    )
    await topics.publish(graded(f"s-{n}") for n in range(20))
    async with topics.reading(pool):
        await topics.until_recorded(pool)
    assert set(await scores(pool)) == {f"s-{n}" for n in range(20)}
    assert await pool.fetchval("SELECT last_value FROM writes") > len(PASSING)
    assert (await topics.stored(pool))[GRADES, 0] == 20


async def cut_at_commits(
    pool: Pool, disturbed: Pool, topics: Topics, proxy: Proxy, way: Way
) -> dict[str, tuple[int, int]]:
    """Three rounds of ten grades, the commit of each round's batch cut off; what is stored then."""
    async with topics.reading(disturbed):
        await topics.until_recorded(pool)
        for version in range(1, 4):
            cuts = proxy.cuts_made
            proxy.cut_at(way, b"COMMIT")
            await topics.publish(graded(f"s-{n}", version, score=str(version)) for n in range(10))
            await until(lambda: proxy.cuts_made > cuts)  # noqa: B023
            await topics.until_recorded(pool)
    return await scores(pool)


@pytest.mark.parametrize("way", ["request", "answer"])
async def test_a_batch_whose_commit_is_cut_off_is_recorded_once(
    pool: Pool,
    disturbed: Pool,
    topics: Topics,
    proxy: Proxy,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "_RETRY_PAUSES", (0.01,))
    found = await cut_at_commits(pool, disturbed, topics, proxy, way)
    assert found == {f"s-{n}": (3, 3) for n in range(10)}
    revisions = await pool.fetch("SELECT DISTINCT revision FROM grade")
    assert [r["revision"] for r in revisions] == [3]


async def test_a_build_that_stores_offsets_ahead_of_their_rows_is_noticed(
    pool: Pool,
    disturbed: Pool,
    topics: Topics,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def offsets_first(to: Pool, batch: Batch, now: Any, **how: Any) -> Recorded:
        await store_offsets(to, batch.next_offsets)
        return await recording.record(to, batch, now, **how)

    monkeypatch.setattr(intake, "_RETRY_PAUSES", (0.01,))
    monkeypatch.setattr(intake, "record", offsets_first)
    found = await cut_at_commits(pool, disturbed, topics, proxy, "request")
    assert found != {f"s-{n}": (3, 3) for n in range(10)}
