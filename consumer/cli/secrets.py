"""``secrets new-key`` and ``secrets rotate``: the keys that seal what districts hand over."""

import typer

from consumer.cli.output import say
from consumer.cli.session import now, session_of
from consumer.sealing import new_key
from consumer.store import districts
from consumer.store.connection import Pool

app = typer.Typer(no_args_is_help=True, help="Sealing keys.")


@app.command("new-key")
def print_new_key() -> None:
    """Print a new sealing key; put it first in the key file, then run 'secrets rotate'."""
    say(new_key())


@app.command()
def rotate(ctx: typer.Context) -> None:
    """Seal every district's secrets again with the first key of the file."""
    session = session_of(ctx)
    keys = session.sealing_keys

    async def work(pool: Pool) -> int:
        found = await districts.find_all(pool)
        # All are opened before any is written: where a key is missing, nothing was done.
        sealed = [
            (
                one,
                keys.rotate(one.district.district, "key", one.sealed_key),
                keys.rotate(one.district.district, "secret", one.sealed_secret),
            )
            for one in found
        ]
        for one, key, secret in sealed:
            await districts.reseal(
                pool,
                one.district.district,
                (one.sealed_key, one.sealed_secret),
                (key, secret),
                now(),
            )
        return len(found)

    count = session.with_store(work)
    say(f"sealed the secrets of {count} districts with the first key")
