"""Every SQL statement, by aggregate; the only home of asyncpg.

Functions take the pool (or a connection where they are part of a caller's transaction) and
the district; they are told the time, except that leases expire on the database's own clock.
No transaction is ever open across a request to Skyward.
"""
