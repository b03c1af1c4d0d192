"""The metrics of a node itself: its place in the fleet, and how many pipelines of the fleet are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from ditto.fleet.node import Node


class _Collector(Collector):
    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> Iterator[Family]:
        """None: the names are not needed at registration."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        node = self._node
        yield GaugeMetricFamily(
            "ditto_node_connected",
            "1 while the node is connected to the control plane.",
            value=float(node.view.is_current),
        )
        yield GaugeMetricFamily(
            "ditto_node_draining", "1 while the node takes no pipelines.", value=float(node.state == "draining")
        )
        yield GaugeMetricFamily(
            "ditto_node_workers", "Processes of the node that run pipelines.", value=float(len(list(node.workers)))
        )
        nodes = GaugeMetricFamily("ditto_fleet_nodes", "Nodes of the fleet, as this one sees them.", labels=["state"])
        counts = Counter(each.state for each in node.view.nodes())
        for state in ("live", "draining", "dead"):
            nodes.add_metric([state], counts[state])
        yield nodes
        pipelines = GaugeMetricFamily(
            "ditto_fleet_pipelines", "Pipelines of the whole fleet, as this node sees them.", labels=["state"]
        )
        for state, count in sorted(Counter(each.state for each in node.view.pipelines()).items()):
            pipelines.add_metric([state], count)
        yield pipelines


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
