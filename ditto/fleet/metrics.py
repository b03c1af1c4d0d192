"""Metrics of many processes as one text in Prometheus' format 0.0.4: each worker renders its own, the node merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.prometheus import PipelineCollector

_OF_PROCESS: Final = "process_"
WORKER: Final = "worker"
"""The label of metrics that are about a process: the worker's number, `node` for the node's own."""


class Metrics:
    """Those of one worker. `monitors` is the list that grows and shrinks with its pipelines."""

    def __init__(self, monitors: Sequence[PipelineMonitor]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(PipelineCollector(monitors))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """As of now."""
        return generate_latest(self._registry)


def merge(texts: Mapping[str, bytes]) -> bytes:
    """One text of those of several processes, by worker: a family's samples stay together, its description is there
    once, and what is about a process gets a label.
    """
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in texts.items():
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("# "):
                _, kind, name, *_ = line.split(" ", 3)
                if kind == "HELP":
                    family = name
                if not _is_known(headers, family, kind):
                    headers.setdefault(family, []).append(line)
                samples.setdefault(family, [])
            elif line:
                samples[family].append(_labelled(line, worker) if line.startswith(_OF_PROCESS) else line)
    lines = [line for family, head in headers.items() for line in (*head, *samples[family])]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _is_known(headers: Mapping[str, list[str]], family: str, kind: str) -> bool:
    return any(line.startswith(f"# {kind} ") for line in headers.get(family, []))


def _labelled(line: str, worker: str) -> str:
    name, _, value = line.partition(" ")
    return f'{name}{{{WORKER}="{worker}"}} {value}'
