"""Writes the three dashboards as JSON where Helm and Grafana find them: ``make dashboards``."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboards.district import district
from deploy.dashboards.internals import internals
from deploy.dashboards.overview import overview

BOARDS = {"overview": overview, "district": district, "internals": internals}


def as_json(name: str) -> str:
    """One dashboard as the text of its file."""
    return JSONEncoder(sort_keys=True, indent=2).encode(BOARDS[name]().build()) + "\n"


def main() -> None:
    """Writes all into the folder that the command line names."""
    (folder,) = sys.argv[1:]
    for name in BOARDS:
        (Path(folder) / f"{name}.json").write_text(as_json(name))


if __name__ == "__main__":
    main()
