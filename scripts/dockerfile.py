"""Reads a Dockerfile: the instructions that Ditto's uses, and no others."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


class NotUnderstood(Exception):
    """An instruction that is not read here: teach it, so that what is tested is what is built."""


@dataclass(kw_only=True)
class Stage:
    """From one FROM to the next. `steps` are RUN, COPY, ENV, WORKDIR and USER in their order."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile. Raises NotUnderstood."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in _lines(path.read_text()):
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word:
            case "ARG" if not stages:
                name, _, value = rest.partition("=")
                arguments[name] = value
            case "FROM":
                for name, value in arguments.items():
                    rest = rest.replace(f"${{{name}}}", value)
                base, _, name = rest.partition(" AS ")
                stages.append(Stage(base=base, name=name or str(len(stages))))
            case "RUN" | "COPY" | "ENV" | "WORKDIR" | "USER":
                stages[-1].steps.append((word, rest))
            case "ENTRYPOINT":
                stages[-1].entrypoint = json.loads(rest)
            case "CMD":
                stages[-1].command = json.loads(rest)
            case "HEALTHCHECK":
                stages[-1].health = json.loads(rest.partition(" CMD ")[2])
            case "LABEL":
                pass
            case _:
                raise NotUnderstood(line)
    return stages


def _lines(text: str) -> list[str]:
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line for line in re.sub(r"\\\n\s*", "", without_comments).splitlines() if line.strip()]


def environment(rest: str) -> dict[str, str]:
    """The variables of an ENV instruction."""
    return dict(part.split("=", 1) for part in shlex.split(rest))


def mount(rest: str) -> tuple[dict[str, str], str]:
    """The fields of a RUN's `--mount`, and the command; without one, no fields. Raises NotUnderstood."""
    if not rest.startswith("--"):
        return {}, rest
    option, _, command = rest.partition(" ")
    fields = dict(part.split("=", 1) for part in option.removeprefix("--mount=").split(","))
    if not option.startswith("--mount=") or fields.get("type") != "bind":
        raise NotUnderstood(rest)
    return fields, command


def context(top: Path) -> list[Path]:
    """The files that .dockerignore lets through, below `top`. The last pattern that matches decides."""
    rules = [line for line in (top / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    names = {rule[1:] for rule in rules if rule[0] == "!"}
    found = [path for name in sorted(names) for path in (top / name, *(top / name).rglob("*")) if path.is_file()]
    return [path for path in found if not _is_ignored(path.relative_to(top), rules)]


def _is_ignored(path: Path, rules: list[str]) -> bool:
    is_ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        parents = [path, *path.parents][:-1]
        folder, has_any_depth, name = pattern.rpartition("**/")
        if has_any_depth:
            is_match = any(str(each).startswith(folder) and fnmatch.fnmatch(each.name, name) for each in parents)
        else:
            is_match = any(
                len(parent.parts) == len(Path(pattern).parts) and fnmatch.fnmatch(str(parent), pattern)
                for parent in parents
            )
        if is_match:
            is_ignored = not rule.startswith("!")
    return is_ignored
