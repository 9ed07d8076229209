"""The connection pool says who waits for it."""

import asyncio

from consumer.store.connection import connect


async def test_who_waits_for_a_connection_is_counted(database_url: str) -> None:
    pool = await connect(database_url, size=1)
    try:
        assert pool.waiting == 0
        async with pool.acquire():
            assert (pool.get_size(), pool.get_idle_size(), pool.waiting) == (1, 0, 0)
            waiting = [asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert pool.waiting == 3
            waiting[0].cancel()
            await asyncio.sleep(0)
            assert pool.waiting == 2
        assert await asyncio.gather(*waiting[1:]) == [1, 1]
        assert pool.waiting == 0
    finally:
        await pool.close()
