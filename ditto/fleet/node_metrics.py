"""The metrics of a node itself: its place in the fleet, and how many pipelines of the fleet are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ditto.monitoring.state import State

if TYPE_CHECKING:
    from ditto.fleet.node import Node


PIPELINE_STATES: Final = (*get_args(State), "changing", "assigned", "unassigned", "paused", "failed")
_NODE_STATES: Final = ("live", "draining", "dead")

Sample = tuple[tuple[str, ...], float]


class NodeMetric(NamedTuple):
    """One gauge of the node itself."""

    name: str
    about: str
    read: Callable[[Node], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def _counted(states: Iterable[str], found: Iterable[str]) -> list[Sample]:
    counts = Counter(found)
    return [((state,), float(counts[state])) for state in states]


NODE_METRICS: Final[tuple[NodeMetric, ...]] = (
    NodeMetric(
        "ditto_node_connected",
        "1 while the node is connected to the control plane.",
        lambda node: [((), float(node.view.is_current))],
    ),
    NodeMetric(
        "ditto_node_draining",
        "1 while the node takes no pipelines.",
        lambda node: [((), float(node.state == "draining"))],
    ),
    NodeMetric(
        "ditto_node_workers",
        "Processes of the node that run pipelines.",
        lambda node: [((), float(len(list(node.workers))))],
    ),
    NodeMetric(
        "ditto_fleet_nodes",
        "Nodes of the fleet, as this one sees them.",
        lambda node: _counted(_NODE_STATES, (each.state for each in node.view.nodes())),
        ("state",),
    ),
    NodeMetric(
        "ditto_fleet_pipelines",
        "Pipelines of the whole fleet, as this node sees them: also those that no node runs.",
        lambda node: _counted(PIPELINE_STATES, (each.state for each in node.view.pipelines())),
        ("state",),
    ),
)
"""Beside those of its pipelines."""


class _Collector(Collector):
    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> Iterator[Family]:
        """None: the names are not needed at registration."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        for metric in NODE_METRICS:
            family = GaugeMetricFamily(metric.name, metric.about, labels=metric.labels)
            for labels, value in metric.read(self._node):
                family.add_metric(labels, value)
            yield family


class NodeMetrics:
    """Rendered on request."""

    def __init__(self, node: Node) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(node))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """As of now."""
        return generate_latest(self._registry)
