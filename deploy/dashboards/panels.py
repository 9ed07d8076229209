"""How a panel of ours looks: each has a title, a description, a unit and the data source variable.

A query is PromQL for the dashboards' two variables, ``$job`` and ``$datasource``; a rate is over
``$__rate_interval``, a day's total over 1d. Grafana's grid is 24 columns wide.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as parts
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE: Final = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"

_COLUMNS: Final = 24
# A day's increase is estimated from its samples and seldom a whole number.
_COUNTS: Final = ("none", "locale")

Panel = stat.Panel | table.Panel | timeseries.Panel

FORWARDED: Final = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
"""What a link to another dashboard of ours takes along."""

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first begins at None, which is everything below."""

Texts = Mapping[int, tuple[str, str]]
"""A value's text and colour."""


def query(
    expr: str, legend: str = "", *, ref: str = "A", now: bool = False
) -> prometheus.Dataquery:
    """One query: over the dashboard's time, or its value ``now`` alone."""
    built = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(DATASOURCE)
    if legend:
        built = built.legend_format(legend)
    return built.instant() if now else built.range()


def number(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    steps: Steps = ((None, BLUE),),
    texts: Texts | None = None,
    width: int = 3,
    height: int = 4,
    filled: bool = False,
) -> stat.Panel:
    """One value, as it is now; ``filled`` paints all of the panel in its colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(height)
        .thresholds(_thresholds(steps))
        .color_mode(
            shapes.BigValueColorMode.BACKGROUND if filled else shapes.BigValueColorMode.VALUE
        )
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query(expr, now=True))
    )
    if unit in _COUNTS:
        panel = panel.decimals(0)
    return panel.mappings([_texts(texts)]) if texts else panel


def graph(
    title: str,
    description: str,
    queries: Mapping[str, str],
    unit: str,
    *,
    width: int = 8,
    height: int = 8,
    stacked: bool = False,
    bars: bool = False,
    least: float | None = 0,
    steps: Steps | None = None,
) -> timeseries.Panel:
    """Lines or bars over time; ``queries`` go by their legends."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(height)
        .fill_opacity(60 if bars else 10)
        .line_width(1)
        .show_points(shapes.VisibilityMode.NEVER)
        .draw_style(shapes.GraphDrawStyle.BARS if bars else shapes.GraphDrawStyle.LINE)
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(shapes.TooltipDisplayMode.MULTI)
            .sort(shapes.SortOrder.DESCENDING)
        )
    )
    if least is not None:
        panel = panel.min(least)
    if unit == "none":
        panel = panel.axis_soft_max(1)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if steps:
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        )
    for ref, (legend, expr) in zip("ABCDEFGH", queries.items(), strict=False):
        panel = panel.with_target(query(expr, legend, ref=ref))
    return panel


class Column:
    """A column of a table: its heading, its query's value by row, and how it is shown."""

    def __init__(
        self,
        heading: str,
        expr: str,
        unit: str,
        *,
        steps: Steps | None = None,
        texts: Texts | None = None,
        width: int | None = None,
    ) -> None:
        self.heading: Final = heading
        self.expr: Final = expr
        self.properties: Final[list[parts.DynamicConfigValue]] = []
        self._add("unit", unit)
        if unit in _COUNTS:
            self._add("decimals", 0)
        if steps:
            self._add("thresholds", _thresholds(steps).build())
        if texts:
            self._add("mappings", [_texts(texts)])
        if steps or texts:
            painted = {"type": "color-background" if texts else "color-text"}
            self._add("custom.cellOptions", painted)
        if width:
            self._add("custom.width", width)

    def _add(self, what: str, value: Any) -> None:
        self.properties.append(parts.DynamicConfigValue(what, value))


def rows_of(
    title: str,
    description: str,
    label: str,
    columns: Sequence[Column],
    *,
    sorted_by: Sequence[str],
    height: int = 8,
    link: tuple[str, str] | None = None,
) -> table.Panel:
    """A row for each value of ``label``; worst first by the columns of ``sorted_by``.

    ``link`` is the title and URL that a click on the row's name opens.
    """
    heading = label.capitalize()
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("none")
        .span(24)
        .height(height)
        .sort_by([_Largest(name) for name in sorted_by])
        .with_transformation(parts.DataTransformerConfig("joinByField", options={"byField": label}))
        .with_transformation(_organised(label, heading, columns))
    )
    for ref, column in zip("ABCDEFGHIJKL", columns, strict=False):
        target = query(column.expr, ref=ref, now=True).format(PromQueryFormat.TABLE)
        panel = panel.with_target(target).override_by_name(column.heading, column.properties)
    if link:
        shown = [{"title": link[0], "url": link[1]}]
        panel = panel.override_by_name(heading, [parts.DynamicConfigValue("links", shown)])
    return panel


class _Largest(Builder[shapes.TableSortByFieldState]):
    """Sorts by one column, the largest first; the SDK takes only what builds itself."""

    def __init__(self, heading: str) -> None:
        self._sort: Final = shapes.TableSortByFieldState(display_name=heading, desc=True)

    def build(self) -> shapes.TableSortByFieldState:
        """What the table is given."""
        return self._sort


def _organised(label: str, heading: str, columns: Sequence[Column]) -> parts.DataTransformerConfig:
    """The row's name and each query's value, without times and other labels."""
    values = {f"Value #{ref}": c.heading for ref, c in zip("ABCDEFGHIJKL", columns, strict=False)}
    wanted = [label, *values]
    return parts.DataTransformerConfig(
        "organize",
        options={
            "includeByName": dict.fromkeys(wanted, True),
            "indexByName": {name: place for place, name in enumerate(wanted)},
            "renameByName": {label: heading, **values},
        },
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(parts.ThresholdsMode.ABSOLUTE)
        .steps([parts.Threshold(value, colour) for value, colour in steps])
    )


def _texts(texts: Texts) -> parts.ValueMap:
    shown = {
        str(value): parts.ValueMappingResult(text, colour, index=place)
        for place, (value, (text, colour)) in enumerate(texts.items())
    }
    return parts.ValueMap(shown)


def board(
    name: str,
    title: str,
    description: str,
    *,
    since: str,
    sections: Mapping[str, Sequence[Panel]],
    variables: Sequence[dashboard.QueryVariable] = (),
) -> dashboard.Dashboard:
    """A dashboard of ours, with the variables and links that all have.

    ``sections`` are panels under their heading; the first needs none, which is ''.
    """
    built = (
        dashboard.Dashboard(title)
        .uid(f"skyward-passback-{name}")
        .description(description)
        .tags(["skyward-passback"])
        .editable()
        .refresh("30s")
        .time(since, "now")
        .timezone("browser")
        .tooltip(parts.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Skyward Passback")
            .type(parts.DashboardLinkType.DASHBOARDS)
            .tags(["skyward-passback"])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            labels("job", "Job", "label_values(passback_build_info, job)")
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .current(parts.VariableOption(text="All", value="$__all"))
        )
    )
    for variable in variables:
        built = built.with_variable(variable)
    grid, number_of = _Grid(), itertools.count(1)
    for heading, panels in sections.items():
        if heading:
            place = grid.place(_COLUMNS, 1)
            built = built.with_row(dashboard.Row(heading).id(next(number_of)).grid_pos(place))
        for panel in panels:
            size = panel.build().grid_pos
            assert size is not None
            panel.grid_pos(grid.place(size.w, size.h)).id(next(number_of))
            built = built.with_panel(panel)
    return built


class _Grid:
    """Grafana's grid: a panel goes as far up as it can, and then as far left."""

    def __init__(self) -> None:
        self._heights: Final = [0] * _COLUMNS

    def place(self, width: int, height: int) -> parts.GridPos:
        """Takes the place of the next panel."""
        lowest = {x: max(self._heights[x : x + width]) for x in range(_COLUMNS - width + 1)}
        x = min(lowest, key=lambda x: (lowest[x], x))
        self._heights[x : x + width] = [lowest[x] + height] * width
        return parts.GridPos(h=height, w=width, x=x, y=lowest[x])


def labels(name: str, label: str, of: str) -> dashboard.QueryVariable:
    """A variable whose values are those that a label has."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(of)
        .refresh(parts.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(parts.VariableSort.ALPHABETICAL_ASC)
    )
