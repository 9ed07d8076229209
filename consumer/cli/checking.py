"""What ``check`` asks: settings, sealing keys, database, clocks, schema, Kafka, topics, group.

A check that needs what failed before it is left out: its cure would be the other one's.
"""

from datetime import timedelta

from consumer.cli.checks import Check
from consumer.cli.reading_on import ReadOn, gone_from
from consumer.cli.session import Session, now
from consumer.errors import ServiceUnavailable, UsageError
from consumer.events import TOPICS
from consumer.intake import LogEnd
from consumer.sealing import SealingKeys
from consumer.settings import KafkaSettings, Settings
from consumer.store import districts
from consumer.store.clock import CURE, SKEW, Clock
from consumer.store.connection import (
    FORBIDDEN,
    OWNER,
    UNREACHABLE,
    Pool,
    connect,
    forbidden,
    unreachable,
)
from consumer.store.migrate import expect_current_schema
from consumer.store.recording import stored_offsets


async def check_everything(session: Session) -> list[Check]:
    """Every check that can be made, in the order in which an operator would mend them."""
    try:
        settings = session.settings
    except UsageError as error:
        return [
            Check("settings", False, line, "correct this variable or its file")
            for line in str(error).splitlines()
        ]
    checks = [Check("settings", True, "every variable that is set is valid")]
    keys, sealing = _sealing(session)
    checks.append(sealing)
    known: dict[tuple[str, int], int] | None = None
    pool, database = await _database(settings)
    checks.append(database)
    if pool is not None:
        try:
            checks.append(await _clocks(pool))
            schema = await _schema(pool)
            checks.append(schema)
            if schema.passes:
                if keys is not None:
                    checks.append(await _secrets(pool, keys))
                topics = [settings.kafka_topic_prefix + name for name in TOPICS]
                known = await stored_offsets(pool, topics)
        finally:
            await pool.close()
    return checks + await _kafka(settings, known)


def _sealing(session: Session) -> tuple[SealingKeys | None, Check]:
    try:
        keys = session.sealing_keys
    except UsageError as error:
        return None, Check(
            "sealing key",
            False,
            str(error),
            "write what 'passback secrets new-key' prints to a file and name it in"
            " PASSBACK_SEALING_KEY_FILE",
        )
    return keys, Check("sealing key", True, "the key file can be read and holds valid keys")


async def _database(settings: Settings) -> tuple[Pool | None, Check]:
    url = settings.database_url.get_secret_value()
    try:
        pool = await connect(url, size=1)
    except UNREACHABLE as error:
        return None, _without_service("database", unreachable(url, error))
    return pool, Check("database", True, "Postgres answers")


async def _clocks(pool: Pool) -> Check:
    skew = await Clock(now).compare(pool)
    if abs(skew) <= SKEW:
        return Check("clocks", True, "this machine's clock and the database's agree")
    which = "ahead of" if skew > timedelta(0) else "behind"
    apart = timedelta(seconds=round(abs(skew).total_seconds()))
    return Check("clocks", False, f"this machine's clock is {apart} {which} the database's", CURE)


async def _schema(pool: Pool) -> Check:
    try:
        async with pool.acquire() as connection:
            await expect_current_schema(connection)
    except ServiceUnavailable as error:
        cure = "run a newer build" if "newer" in str(error) else "run 'passback migrate'"
        return Check("schema", False, str(error), cure)
    except FORBIDDEN as error:
        return Check("schema", False, f"Postgres {forbidden(error)}", f"{OWNER}, or name its owner")
    return Check("schema", True, "the schema is the one that this build needs")


async def _secrets(pool: Pool, keys: SealingKeys) -> Check:
    closed = []
    for stored in await districts.find_all(pool):
        district_id = stored.district.district
        try:
            keys.open(district_id, "key", stored.sealed_key)
            keys.open(district_id, "secret", stored.sealed_secret)
        except UsageError:
            closed.append(district_id)
    if closed:
        return Check(
            "district secrets",
            False,
            f"no sealing key opens those of {', '.join(closed)}",
            "add the key that sealed them to the key file, or apply these districts again",
        )
    return Check("district secrets", True, "the sealing keys open every district's secrets")


async def _kafka(settings: Settings, known: dict[tuple[str, int], int] | None) -> list[Check]:
    try:
        kafka = settings.require_kafka()
        partitions = await LogEnd(kafka).partitions()
        policies = await LogEnd(kafka).cleanup_policies()
    except UsageError as error:
        return [Check("kafka", False, str(error), "set PASSBACK_KAFKA_BOOTSTRAP_SERVERS")]
    except ServiceUnavailable as error:
        return [_without_service("kafka", str(error))]
    checks = [Check("kafka", True, f"Kafka at {','.join(kafka.bootstrap_servers)} answers")]
    checks += [_topic(topic, count, policies[topic]) for topic, count in partitions.items()]
    if known is None:
        return checks
    try:
        gone = await gone_from(LogEnd(kafka), known) if all(partitions.values()) else []
    except ServiceUnavailable as error:
        return [*checks, _without_service(f"group {kafka.group_id}", str(error))]
    return [*checks, _group(kafka, known, gone)]


def _topic(topic: str, partitions: int, policy: str | None) -> Check:
    name = f"topic {topic}"
    if not partitions:
        cure = (
            "create it (cleanup.policy=compact), grant Describe on it, or correct"
            " PASSBACK_KAFKA_TOPIC_PREFIX"
        )
        return Check(name, False, "Kafka has no such topic", cure)
    if policy is None:
        # Whoever may only read is not shown it (DescribeConfigs).
        return Check(name, True, f"it has {partitions} partitions; how it forgets is not shown")
    if policy != "compact":
        return Check(
            name,
            False,
            f"its cleanup.policy={policy} deletes events by age, which nothing brings back",
            "set cleanup.policy=compact on it, and have upstream publish what is gone",
        )
    return Check(name, True, f"it has {partitions} partitions and is compacted")


def _without_service(name: str, sentence: str) -> Check:
    """Of a sentence about a service that is not there: what is wrong, and after it what helps."""
    because, _, cure = sentence.rstrip(".").partition("; ")
    return Check(name, False, because, cure)


def _group(kafka: KafkaSettings, known: dict[tuple[str, int], int], gone: list[ReadOn]) -> Check:
    name = f"group {kafka.group_id}"
    if gone:
        where = ", ".join(f"{one.topic}[{one.partition}] at {one.stood_at}" for one in gone)
        return Check(
            name,
            False,
            f"Kafka does not hold what it is to read next ({where})",
            "have upstream publish what is gone, then 'passback events read-on'",
        )
    if known:
        return Check(name, True, f"it goes on where the store stands, in {len(known)} partitions")
    if kafka.start is not None:
        return Check(name, True, f"its first start reads from the {kafka.start} record on")
    return Check(
        name,
        False,
        "it has never read these topics, and where it begins is not said",
        "set PASSBACK_KAFKA_START to earliest (all that Kafka holds) or latest (only what comes)",
    )
