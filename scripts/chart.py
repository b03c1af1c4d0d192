"""What is made from the Helm chart: the table in its README, and the plain manifests in deploy/kubernetes/serve.

Templates are rendered by Helm's own library (helm-python-sdk), which needs no `helm` program. It brings the runtime of
Go into the process, hence this module imports it where it is used, and tests run this program.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[1]
CHART = TOP / "deploy" / "helm" / "ditto"
README = CHART / "README.md"
PLAIN = TOP / "deploy" / "kubernetes" / "serve"
PLAIN_VALUES = TOP / "deploy" / "helm" / "kubernetes.values.yaml"
RELEASE = "ditto-serve"
NAMESPACE = "ditto"

_TABLE = re.compile(r"(?<=<!-- values -->\n).*?(?=<!-- end of values -->)", re.DOTALL)
_KEY = re.compile(r"( *)(\w+):(?: |$)")
_OF_HELM = re.compile(r" *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n")


class ChartError(Exception):
    """Helm refuses the chart or its values."""


def render(values: dict[str, Any]) -> dict[str, str]:
    """The manifests that Helm makes of these values, by the name of their template; empty ones are left out.

    Raises:
        ChartError: the values do not fit the schema, or a template fails.
    """
    import helm_python  # noqa: PLC0415

    try:
        with helm_python.Chart.load(CHART) as chart:
            chart.validate_schema(values)
            rendered = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        raise ChartError(str(error)) from error
    names = {Path(path).name: text.lstrip("\n") for path, text in rendered.items()}
    return {name: text for name, text in sorted(names.items()) if text.strip()}


def lint() -> list[str]:
    """The findings of `helm lint --strict` that are more than an advice."""
    import helm_python  # noqa: PLC0415

    report = helm_python.lint(CHART, strict=True)
    findings = [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] > 1]
    return [*findings, *report["errors"]]


def plain_manifests() -> dict[str, str]:
    """The files of deploy/kubernetes/serve."""
    rendered = render(yaml.safe_load(PLAIN_VALUES.read_text()))
    head = "# Made by scripts/chart from deploy/helm/ditto and deploy/helm/kubernetes.values.yaml: change those.\n"
    manifests = {
        name: head + _OF_HELM.sub("", text).rstrip("\n") + "\n"
        for name, text in rendered.items()
        if name.endswith(".yaml")
    }
    listed = "".join(f"  - {name}\n" for name in manifests)
    kustomization = (
        f"{head}# kubectl apply --kustomize deploy/kubernetes/serve\n"
        "# servicemonitor.yaml needs the Prometheus operator: remove its line without it.\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"namespace: {NAMESPACE}\nresources:\n{listed}"
    )
    return {**manifests, "kustomization.yaml": kustomization}


def documented_values() -> dict[str, str]:
    """The comments in values.yaml, by the path of the key that each is in front of (`image.tag`)."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.lstrip().startswith("# "):
            comment.append(line.lstrip()[2:])
            continue
        if key := _KEY.match(line):
            depth = len(key[1])
            parents = [(at, name) for at, name in parents if at < depth] + [(depth, key[2])]
            if comment:
                found[".".join(name for _, name in parents)] = " ".join(comment)
        comment = []
    return found


def readme() -> str:
    """README.md, with its table as values.yaml has it."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = "".join(
        f"| `{path}` | {text.replace('|', '&#124;')} | {_shown(defaults, path)} |\n"
        for path, text in documented_values().items()
    )
    table = f"\n| Value | Meaning | Default |\n|---|---|---|\n{rows}\n"
    return _TABLE.sub(lambda _: table, README.read_text())


def _shown(defaults: Any, path: str) -> str:
    for name in path.split("."):
        defaults = defaults[name]
    text = json.dumps(defaults)
    return f"`{text}`" if len(text) <= 40 else "see values.yaml"


def made() -> dict[Path, str]:
    """Every file that is made from the chart."""
    return {README: readme(), **{PLAIN / name: text for name, text in plain_manifests().items()}}


def superfluous() -> list[Path]:
    """Manifests that the chart has no longer."""
    return [path for path in PLAIN.glob("*.yaml") if path not in made() and path.name != "secret.example.yaml"]


def stale() -> list[Path]:
    """Files that are not what the chart makes now."""
    changed = [path for path, text in made().items() if not path.exists() or path.read_text() != text]
    return changed + superfluous()


def write() -> None:
    """Write all of it."""
    PLAIN.mkdir(exist_ok=True)
    for path in superfluous():
        path.unlink()
    for path, text in made().items():
        path.write_text(text)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chart", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    rendering = commands.add_parser("render", help="print what Helm makes of a file of values")
    rendering.add_argument("values", type=Path, nargs="?", help="YAML; absent: the chart's own")
    commands.add_parser("lint", help="run Helm's linter")
    commands.add_parser("check", help="name the files that are not what the chart makes now")
    chosen = parser.parse_args()
    try:
        if chosen.command in {"lint", "check"}:
            findings = lint() if chosen.command == "lint" else [f"not up to date: {path}" for path in stale()]
            print("\n".join(findings) or "nothing found")
            return 1 if findings else 0
        if chosen.command == "render":
            values = yaml.safe_load(chosen.values.read_text()) if chosen.values else {}
            print("---\n".join(text for name, text in render(values or {}).items() if name.endswith(".yaml")))
        else:
            write()
    except ChartError as error:
        print(f"chart: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
