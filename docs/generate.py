"""Writes the reference pages from the code: `python docs/generate.py`. A test fails when they have drifted."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import click
import msgspec

from ditto import errors
from ditto.api.fleet.app import make_api
from ditto.api.fleet.openapi import complete
from ditto.cli import main
from ditto.config import FLAGS, KEYS, SECTIONS
from ditto.config.keys import SERVER, Key, members, section, variable_of
from ditto.fleet.node_metrics import NODE_METRICS, PIPELINE_STATES
from ditto.monitoring.metrics import DISTRIBUTIONS, LABEL_VALUES, METRICS, PIPELINE

DOCS = Path(__file__).parent


def configuration() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Made by docs/generate.py from ditto/config/model.py. -->",
        "",
        "`ditto run --config FILE` reads YAML, TOML or JSON, by the file's extension. A flag wins over the",
        "environment, the environment over the file, the file over the default. `${NAME}` and `${NAME:-default}` in",
        "the file's values come from the environment; `$${` stands for `${`. Mappings and lists in a variable are",
        "written as JSON.",
        "",
        "In YAML an optional section is there as soon as its name is: `kafka:` or `tls:` with nothing below it is",
        "`kafka: {}` or `tls: {}`. To leave it out, write `null`, or nothing.",
        "",
        "`ditto config show` prints what results, with secrets masked; `ditto config schema` prints a JSON Schema.",
    ]
    for path in ("", *SECTIONS):
        if path:
            lines += ["", f"## {path}"]
        for key in KEYS.values():
            if key.path.rpartition(".")[0] == path:
                lines += ["", f"### {key.path}", "", key.description, "", *_facts(key)]
                if (entry := _entry(key.annotation)) is not None:
                    lines += _entry_keys(f"{key.path}.NAME", entry)
    return "\n".join(lines) + "\n"


def server_configuration() -> str:
    """docs/server.md."""
    lines = [
        "# Configuration of a node",
        "",
        "<!-- Made by docs/generate.py from ditto/config/server.py. -->",
        "",
        "`ditto serve --config FILE` reads YAML, TOML or JSON, by the file's extension. The environment wins over the",
        "file, the file over the default. `${NAME}` and `${NAME:-default}` in the file's values come from the",
        "environment. All nodes with the same control plane (`nats`) form a fleet: see [the fleet](guides/fleet.md).",
        "Pipelines are not part of this file: they are [documents](configuration.md) that the fleet keeps.",
    ]
    for path in ("", *SERVER.sections):
        keys = [key for key in SERVER.keys.values() if key.path.rpartition(".")[0] == path]
        if path and keys:
            lines += ["", f"## {path}"]
        for key in keys:
            lines += [
                "",
                f"### {key.path}",
                "",
                key.description,
                "",
                *_plain_facts(key),
                f"- Environment: `{key.variable}`",
            ]
    return "\n".join(lines) + "\n"


def _entry(annotation: object) -> type[msgspec.Struct] | None:
    """What a key holds by name, where that is a section of its own."""
    for member in members(annotation):
        if get_origin(member) is dict:
            return section(get_args(member)[1])
    return None


def _entry_keys(path: str, struct: type[msgspec.Struct]) -> Iterator[str]:
    """The keys of one entry."""
    for field in msgspec.structs.fields(struct):
        metas = [meta for meta in get_args(field.type)[1:] if isinstance(meta, msgspec.Meta)]
        about = next(meta for meta in metas if meta.description)
        yield from ("", f"#### {path}.{field.encode_name}", "", str(about.description))
        facts = []
        if field.default not in {None, msgspec.NODEFAULT}:
            facts.append(f"- Default: `{_plain(field.default)}`")
        choices = [each for member in members(field.type) if get_origin(member) is Literal for each in get_args(member)]
        if choices:
            facts.append(f"- One of {', '.join(f'`{choice}`' for choice in choices)}")
        if about.examples:
            facts.append(f"- Example: `{_plain(about.examples[0])}`")
        if facts:
            yield from ("", *facts)
        if (nested := section(field.type)) is not None:
            yield from _entry_keys(f"{path}.{field.encode_name}", nested)
        elif (entry := _entry(field.type)) is not None:
            yield from _entry_keys(f"{path}.{field.encode_name}.NAME", entry)


def _facts(key: Key) -> Iterator[str]:
    """What there is to look up about a key, a line each."""
    yield from _plain_facts(key)
    yield f"- Environment: {', '.join(f'`{name}`' for name in key.variables)}"
    if flags := FLAGS.get(key.path):
        yield f"- Flag: {', '.join(f'`{flag}`' for flag in flags)}"
    if former := key.former:
        yield f"- Formerly `{former}` (`{variable_of(former)}`), which may still be used"


def _plain_facts(key: Key) -> Iterator[str]:
    """Those that are about its values."""
    if key.is_required:
        yield f"- Required where `{key.path.rpartition('.')[0]}` is given"
    if key.default is not None:
        yield f"- Default: `{f'{key.default:g}s' if key.is_duration else _plain(key.default)}`"
    if key.choices:
        yield f"- One of {', '.join(f'`{choice}`' for choice in key.choices)}"
    if key.examples:
        yield f"- Example: `{_plain(key.examples[0])}`"


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def commands() -> str:
    """docs/commands.md."""
    lines = [
        "# Commands",
        "",
        "<!-- Made by docs/generate.py from the commands' own help. -->",
        "",
        "Exit codes: 0 ok, 1 internal error, 2 usage or configuration, 3 PostgreSQL, 4 the sink, 5 the fleet,",
        "130 interrupted. Those that look for something (`check`, `demo`, `health`, `pipelines status`, `snapshot",
        "status`, `status`, `verify`, `wait`) exit with 1 where it is not as it should be.",
    ]
    for context in _walk(_context(main, None, "ditto")):
        lines += ["", f"## {context.command_path}", "", "```", context.get_help(), "```"]
    return "\n".join(lines) + "\n"


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    settings = {"terminal_width": 100, "max_content_width": 100, **command.context_settings}
    return click.Context(command, parent=parent, info_name=name, **settings)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            child = context.command.get_command(context, name)
            if child is not None:
                yield from _walk(_context(child, context, name))


def metrics() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made by docs/generate.py from ditto/monitoring/metrics.py. -->",
        "",
        "`/metrics` of a Ditto with `http.listen`, in Prometheus' text format; beside these the usual `process_*` and",
        "`python_info`. With OpenTelemetry the same ones are called `ditto.lag_bytes` for `ditto_lag_bytes`, without",
        "`_total`. A metric whose value is not known at the moment has no sample. Every metric of Ditto's has the",
        f"label `{PIPELINE}`; the table below names the others.",
        "",
        "| Metric | Type | What | Labels |",
        "|" + "---|" * 4,
        "| `ditto_build_info` | gauge | 1; what runs. | `version`, `decoder` |",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {metric.about} | {labels} |")
    lines += [f"| `{each.name}` | histogram | {each.about} | |" for each in DISTRIBUTIONS]
    lines += ["", "| Label | Values |", "|" + "---|" * 2]
    lines += [f"| `{label}` | {values} |" for label, values in LABEL_VALUES.items()]
    lines += [
        "",
        "## Of a node",
        "",
        "`/metrics` of `ditto serve` has those of all pipelines of the node, `process_*` of each of its processes",
        "(label `worker`, which is `node` for that of the node itself), and these:",
        "",
        "| Metric | Type | What | Labels |",
        "|" + "---|" * 4,
        *(
            f"| `{each.name}` | gauge | {each.about} | {', '.join(f'`{label}`' for label in each.labels)} |"
            for each in NODE_METRICS
        ),
        "",
        f"`state` of pipelines is one of {', '.join(f'`{state}`' for state in PIPELINE_STATES)}.",
    ]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "<!-- Made by docs/generate.py from ditto/errors. -->",
        "",
        "What stops Ditto, or ends a session. The log names the class as `kind`, and `ditto_sessions_total` has it as",
        "`reason`; a command that ends with one says a sentence and a hint, and exits with its code. What is",
        "retried is tried for ever, with back-off, some of it only by a process that has streamed or stood by; any",
        "other error ends the process.",
    ]
    titles = {
        "ConfigError": "Configuration",
        "SourceError": "PostgreSQL",
        "SinkError": "The sink: NATS, Kafka, Redis, RabbitMQ, a webhook or the file",
        "FleetError": "The fleet",
    }
    for branch in sorted(_ours(errors.DittoError), key=lambda kind: kind.exit_code):
        lines += [
            "",
            f"## {titles[branch.__name__]}",
            "",
            "| Error | Exit code | Retried | What | What to do |",
            "|---|--:|---|---|---|",
        ]
        for kind in [*([branch] if branch.__doc__ else []), *_ours(branch)]:
            about, _, advice = (kind.__doc__ or "").partition("\n\n")
            is_retried = "yes" if kind.is_retryable else "once it has streamed" if kind.is_retryable_later else "no"
            cells = [f"`{kind.__name__}`", str(kind.exit_code), is_retried, _line(about), _line(advice)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def api() -> str:
    """docs/api.md, which is written by hand up to the routes."""
    app = make_api(cast("Any", None))  # its routes; none of them is called
    document = complete(app, app.openapi_schema.to_schema())
    routes = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    lines = [
        *(DOCS / "api.md").read_text().partition("\n## Routes\n")[0].split("\n"),
        "## Routes",
        "",
        "| Route | Role | What |",
        "|---|---|---|",
    ]
    for method, path, operation in routes:
        lines.append(f"| `{method} {path}` | {operation.get('x-role', 'none')} | {operation['summary']} |")
    for method, path, operation in routes:
        lines += ["", f"### {method} {path}", "", _line(operation["description"])]
        given = [
            f"`{each['name']}` ({each['in']}): {_line(each.get('description', ''))}"
            for each in operation.get("parameters", [])
            if each["in"] != "path"
        ]
        if given:
            lines += ["", *(f"- {each}" for each in given)]
        codes = [code for code in operation["responses"] if code not in _USUAL]
        lines += ["", f"Answers {', '.join(codes)}."]
    return "\n".join(lines) + "\n"


_USUAL = frozenset({"400", "401", "403", "405", "413", "415", "421", "500"})
"""Status codes that the introduction explains."""


def _ours(kind: type[errors.DittoError]) -> list[type[errors.DittoError]]:
    """Its subclasses in that module: others exist once their own module is imported."""
    return [child for child in kind.__subclasses__() if child.__module__.startswith(errors.__name__)]


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_INCLUDED = re.compile(
    r"(?P<head><!-- included: (?P<file>\S+?)(?: (?P<names>[\w., ]+))? -->\n```\w+\n).*?^```$", re.MULTILINE | re.DOTALL
)


def _with_programs(name: str) -> str:
    """A guide that is written by hand, but for the programs in it: whole files, or what has these names in them."""
    page = (DOCS / "guides" / name).read_text()

    def included(match: re.Match[str]) -> str:
        text = (DOCS.parent / match["file"]).read_text()
        if match["names"] is not None:
            text = "\n\n\n".join(_excerpt(text, each) for each in match["names"].split(", ")) + "\n"
        return f"{match['head']}{text}```"

    return _INCLUDED.sub(included, page)


def _excerpt(text: str, name: str) -> str:
    """The class, the method (`Class.method`) or the function of that name, as the file has it."""
    body: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        found = next(
            each
            for each in body
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and each.name == part
        )
        body = found.body
    first = min([found.lineno, *(each.lineno for each in found.decorator_list)])
    return textwrap.dedent("\n".join(text.split("\n")[first - 1 : found.end_lineno]))


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "server.md": server_configuration,
    "commands.md": commands,
    "metrics.md": metrics,
    "errors.md": errors_page,
    "api.md": api,
    "guides/consumers.md": lambda: _with_programs("consumers.md"),
    "guides/webhook.md": lambda: _with_programs("webhook.md"),
    "guides/bootstrapping.md": lambda: _with_programs("bootstrapping.md"),
    "guides/writing-a-sink.md": lambda: _with_programs("writing-a-sink.md"),
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
