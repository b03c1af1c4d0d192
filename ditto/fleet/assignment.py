"""Which node runs which pipeline. Pure: every node works out the same from the same state, and nobody decides for all.

Rendezvous hashing: each pipeline ranks the nodes that have its labels and can run it, by a hash of both names, and goes
to the first one. Where a node comes or goes, only its own pipelines move. A node that is full keeps those that it runs,
then those that rank highest there; the others go to the next node of their own rank. A pipeline for which all its nodes
are full takes the place of one that can move to a node with room.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct


class Wanted(Struct, frozen=True):
    """A pipeline that is to run."""

    name: str
    labels: Mapping[str, str] = {}
    excluded: frozenset[str] = frozenset()
    """Nodes that cannot run it."""


class Candidate(Struct, frozen=True):
    """A live node that takes pipelines."""

    name: str
    labels: Mapping[str, str] = {}
    max_pipelines: int = 100


def assign(
    pipelines: Iterable[Wanted], nodes: Iterable[Candidate], holders: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The node of each pipeline; one that no node can run is left out. `holders` are the nodes that run them now."""
    now = holders or {}
    wanted = list(pipelines)
    candidates = {each.name: each for each in nodes if each.max_pipelines}
    ranked = {each.name: _ranked(each, candidates.values()) for each in wanted}
    held: dict[str, set[str]] = {name: set() for name in candidates}
    found: dict[str, str] = {}
    waiting = sorted(ranked, reverse=True)
    while waiting:
        pipeline = waiting.pop()
        while ranked[pipeline]:
            node = ranked[pipeline].pop()
            held[node].add(pipeline)
            found[pipeline] = node
            if len(held[node]) <= candidates[node].max_pipelines:
                break
            # The one that ranks lowest there has to look further; it may be this one.
            last = min(held[node], key=lambda each, node=node: (now.get(each) == node, _score(each, node)))  # type: ignore[misc]
            held[node].remove(last)
            del found[last]
            if last != pipeline:
                waiting.append(last)
                break
    _make_room([each for each in wanted if each.name not in found], wanted, candidates, held, found)
    return found


def _make_room(
    homeless: list[Wanted],
    wanted: list[Wanted],
    candidates: Mapping[str, Candidate],
    held: Mapping[str, set[str]],
    found: dict[str, str],
) -> None:
    by_name = {each.name: each for each in wanted}
    for pipeline in sorted(homeless, key=lambda each: each.name):
        roomy = [each for each in candidates.values() if len(held[each.name]) < each.max_pipelines]
        if not roomy:
            return
        moves = (
            (node, moved, there)
            for node in _ranked(pipeline, candidates.values())[::-1]
            for moved in sorted(held[node], key=lambda each, node=node: _score(each, node))  # type: ignore[misc]
            for there in _ranked(by_name[moved], roomy)[::-1]
        )
        move = next(moves, None)
        if move is not None:
            node, moved, there = move
            held[node].remove(moved)
            held[there].add(moved)
            held[node].add(pipeline.name)
            found[moved], found[pipeline.name] = there, node


def can_run(pipeline: Wanted, node: Candidate) -> bool:
    """Whether the node is none of those that cannot, and has all labels that the pipeline asks for."""
    return node.name not in pipeline.excluded and all(
        node.labels.get(name) == value for name, value in pipeline.labels.items()
    )


def _ranked(pipeline: Wanted, nodes: Iterable[Candidate]) -> list[str]:
    """Names of nodes, the first choice last."""
    able = [each.name for each in nodes if can_run(pipeline, each)]
    return sorted(able, key=lambda node: _score(pipeline.name, node))


def _score(pipeline: str, node: str) -> bytes:
    return hashlib.blake2b(f"{pipeline}\0{node}".encode(), digest_size=8).digest()
