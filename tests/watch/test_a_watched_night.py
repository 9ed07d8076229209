"""Every query of the dashboards and alerts is asked of a real Prometheus that saw a night."""

from typing import Any

import pytest

from tests.unit.queries import Selected, selectors
from tests.unit.test_alerts import RULES
from tests.unit.test_dashboards import PANELS
from tests.watch.night import Watched, filled_in

# Which alerts a night with held zeros, a wrong secret and unreadable events raises. All others
# stay silent, and what they compare is asked for instead: it has data.
RAISED = {"PassbackZerosHeld", "PassbackSkywardUnauthorised", "PassbackQuarantineGrowing"}

QUERIES = {
    f"{title}/{target['refId']}": target
    for title, panel in PANELS.items()
    for target in panel["targets"]
}


@pytest.mark.parametrize("target", QUERIES.values(), ids=QUERIES.keys())
def test_a_panels_query_returns_data(watched: Watched, target: dict[str, Any]) -> None:
    query = filled_in(target["expr"])
    found = watched.at_its_end(query) if target.get("instant") else watched.over_the_night(query)
    assert found, query


def test_the_night_is_told_as_it_was(watched: Watched) -> None:
    def value(title: str) -> str:
        (target,) = PANELS[title]["targets"]
        (found,) = watched.at_its_end(filled_in(target["expr"]))
        return str(found["value"][1])

    told = {
        name: value(f"overview/{name}")
        for name in ("Is tonight safe?", "To come", "Running or due", "Late", "Zeros held")
    }
    assert told == {
        "Is tonight safe?": "2",
        "To come": "1",
        "Running or due": "0",
        "Late": "0",
        "Zeros held": told["Zeros held"],
    }
    assert int(told["Zeros held"]) > 1
    # lakeside and hillside are done; seaside was refused, and riverside is paused.
    assert value("overview/Done") == "2"
    assert value("overview/Failed") == "1"
    states = PANELS["overview/Districts, worst first"]["targets"][0]["expr"]
    by_district = {
        one["metric"]["district"]: int(one["value"][1])
        for one in watched.at_its_end(filled_in(states))
    }
    assert by_district == {
        "seaside": 4,
        "hillside": 3,
        "meadow": 1,
        "lakeside": 0,
        "riverside": -1,
    }


def test_every_alert_is_evaluated_and_only_those_of_this_night_are_raised(
    watched: Watched,
) -> None:
    rules = [rule for group in watched.query("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(RULES)
    for rule in rules:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule
    # At the night's end; now the daemon is stopped, and PassbackDown comes by and by.
    assert {one["metric"]["alertname"] for one in watched.at_its_end("ALERTS")} == RAISED


@pytest.mark.parametrize("name", RULES)
def test_what_an_alert_compares_has_data(watched: Watched, name: str) -> None:
    for selected in selectors(RULES[name]["expr"]):
        assert watched.over_the_night(_selector(selected)), selected


def _selector(selected: Selected) -> str:
    # By the names of its labels alone: a reason that is matched by pattern is one of several.
    return selected.metric + "{" + ",".join(f'{label}!=""' for label in selected.matchers) + "}"
