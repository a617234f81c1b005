# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A dashboard as Grafana reads it."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from dashboards.panels import (
    COLUMNS,
    GREEN,
    Dashboard,
    Kind,
    Panel,
    PlacedPanel,
    Query,
    Variable,
    placed,
)

# Where docs/ can be read. Role grafana puts its own grafana_runbook_url there.
DOCUMENTATION = "https://github.com/bss/platform/blob/main"
TAG = "bss"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

PanelBuilder = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel


def as_json(dashboard: Dashboard) -> str:
    """The file that Grafana loads."""
    text = json.dumps(built(dashboard), cls=JSONEncoder, indent=2, sort_keys=True)
    return text + "\n"


def built(dashboard: Dashboard) -> models.Dashboard:
    builder = (
        grafana.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(to_the_others())
        .link(to_the_handbook())
        .annotation(firing_alerts())
        .with_variable(data_source())
    )
    for variable in dashboard.variables:
        builder.with_variable(choice(variable))
    for row in placed(dashboard):
        position = models.GridPos(h=1, w=COLUMNS, x=0, y=row.y)
        builder.with_row(grafana.Row(row.title).id(row.number).grid_pos(position))
        for panel in row.panels:
            builder.with_panel(shown(panel))
    return builder.build()


# What every dashboard has ----------------------------------------------------------


def to_the_others() -> grafana.DashboardLink:
    return (
        grafana.DashboardLink("Dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def to_the_handbook() -> grafana.DashboardLink:
    return (
        grafana.DashboardLink("What to do about failures")
        .type(models.DashboardLinkType.LINK)
        .icon("doc")
        .url(f"{DOCUMENTATION}/docs/README.md#failures")
        .target_blank(True)
    )


def firing_alerts() -> grafana.AnnotationQuery:
    return (
        grafana.AnnotationQuery()
        .name("Alerts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .expr('ALERTS{alertstate="firing", severity=~"critical|warning"}')
    )


def data_source() -> grafana.DatasourceVariable:
    return grafana.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def choice(variable: Variable) -> grafana.QueryVariable:
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        grafana.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(SOURCE)
        .query(variable.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(everything)
    )


# Panels ----------------------------------------------------------------------------


def shown(placed_panel: PlacedPanel) -> PanelBuilder:
    panel = placed_panel.panel
    builder = of_kind(panel)
    position = models.GridPos(h=panel.height, w=panel.width, x=placed_panel.x, y=placed_panel.y)
    builder.id(placed_panel.number).title(panel.title).unit(panel.unit).datasource(SOURCE)
    builder.grid_pos(position).thresholds(steps(panel))
    if panel.description:
        builder.description(panel.description)
    if panel.minimum is not None:
        builder.min(panel.minimum)
    if panel.maximum is not None:
        builder.max(panel.maximum)
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.texts:
        builder.mappings([texts(panel)])
    if panel.runbook:
        page = f"{DOCUMENTATION}/docs/{panel.runbook}"
        builder.links([grafana.DashboardLink("What to do").url(page).target_blank(True)])
    for index, query in enumerate(placed_panel.queries):
        builder.with_target(target(panel, query, ref_id(index)))
    return builder


def of_kind(panel: Panel) -> PanelBuilder:
    if panel.kind is Kind.TIME_SERIES:
        return over_time(panel)
    if panel.kind is Kind.STAT:
        return (
            stat.Panel()
            .color_mode(common_models.BigValueColorMode.VALUE)
            .graph_mode(common_models.BigValueGraphMode.AREA)
            .reduce_options(latest())
        )
    if panel.kind is Kind.BARS:
        return (
            bargauge.Panel()
            .orientation(common_models.VizOrientation.HORIZONTAL)
            .display_mode(common_models.BarGaugeDisplayMode.BASIC)
            .reduce_options(latest())
        )
    return with_columns(panel)


def over_time(panel: Panel) -> timeseries.Panel:
    stacking = common.StackingConfig().mode(
        common_models.StackingMode.NORMAL if panel.stacked else common_models.StackingMode.NONE
    )
    legend = (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = (
        common.VizTooltipOptions()
        .mode(common_models.TooltipDisplayMode.MULTI)
        .sort(common_models.SortOrder.DESCENDING)
    )
    builder = timeseries.Panel().legend(legend).tooltip(tooltip).stacking(stacking)
    builder.fill_opacity(30 if panel.stacked else 5).line_width(1)
    if panel.thresholds:
        builder.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        )
    return builder


def with_columns(panel: Panel) -> table.Panel:
    """A table whose columns are the labels, then what each query answers for them."""
    builder = table.Panel().cell_height(common_models.TableCellHeight.SM)
    for heading, unit in panel.column_units:
        builder.override_by_name(heading, [models.DynamicConfigValue(id_val="unit", value=unit)])
    letters = {query.legend: ref_id(index) for index, query in enumerate(panel.queries)}
    # One query gives a column Value, several give Value #A, Value #B, ...
    found = {
        (f"Value #{letter}" if len(letters) > 1 else "Value"): heading
        for heading, letter in letters.items()
    }
    order = {name: index for index, name in enumerate([*panel.labels, *found])}
    builder.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    builder.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": order,
                "renameByName": found,
            },
        )
    )
    return builder


def latest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def steps(panel: Panel) -> grafana.ThresholdsConfig:
    base = models.Threshold(value=None, color=GREEN)
    above = [models.Threshold(value=value, color=colour) for value, colour in panel.thresholds]
    return grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps([base, *above])


def texts(panel: Panel) -> models.ValueMap:
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, text, colour) in enumerate(panel.texts)
        }
    )


def target(panel: Panel, query: Query, letter: str) -> prometheus.Dataquery:
    builder = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
    builder.editor_mode(prometheus_models.QueryEditorMode.CODE)
    if panel.kind is Kind.TABLE:
        return builder.instant().format(prometheus_models.PromQueryFormat.TABLE)
    builder.legend_format(query.legend)
    return builder.instant() if panel.kind is Kind.BARS else builder.range()


def ref_id(index: int) -> str:
    return chr(ord("A") + index)
