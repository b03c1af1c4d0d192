"""The files that deploy Ditto: what can be checked of them without a container engine, a cluster or systemd as init."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from ditto.cli import main
from ditto.fleet.node_metrics import NODE_METRICS
from ditto.monitoring import metrics
from ditto.testing.programs import nats_server_program
from scripts import dockerfile

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
RULES = DEPLOY / "prometheus" / "ditto.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "ditto.json"
BUILT_IN = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
PROGRAMS = Path(sys.executable).parent


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)


# ------------------------------------------------------------------------------------ the image, and compose


def test_the_image_runs_as_a_user_without_a_name_and_asks_ditto_for_its_health() -> None:
    build, image = dockerfile.read(TOP / "Dockerfile")
    assert (build.name, image.steps[-2]) == ("build", ("USER", "10001:10001"))
    assert image.health == ["ditto", "health"]
    assert (image.entrypoint, image.command) == (["ditto"], ["run", "--config", "/etc/ditto/ditto.yaml"])


def test_the_build_context_has_the_sources_and_nothing_that_was_built() -> None:
    names = {str(path.relative_to(TOP)) for path in dockerfile.context(TOP)}
    assert {"pyproject.toml", "setup.py", "requirements/image.txt", "ditto/_pgoutput.pyx", "ditto/cli/run.py"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc")) or re.fullmatch(r"ditto/[^/]*\.c", name)]
    assert not [name for name in names if name.startswith(("tests", ".git", ".venv", "build", "docs"))]


def test_an_instruction_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a\nVOLUME /x\n")
    with pytest.raises(dockerfile.NotUnderstood, match="VOLUME"):
        dockerfile.read(tmp_path / "Dockerfile")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((TOP / "compose.yaml").read_text())
    return found


def test_compose_is_what_the_specification_allows() -> None:
    done = run(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_compose_has_everything_and_mounts_only_what_is_there() -> None:
    services, configs = compose()["services"], compose()["configs"]
    assert set(services) == {
        "postgres", "nats-1", "nats-2", "nats-3", "ditto-1", "ditto-2", "prometheus", "grafana"
    }  # fmt: skip
    assert all((TOP / config["file"]).is_file() for config in configs.values())
    used = {mounted["source"] for service in services.values() for mounted in service.get("configs", [])}
    assert used == set(configs)
    assert all(services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"] for name in ("ditto-1", "ditto-2"))
    assert "--wal_level=logical" in services["postgres"]["command"]
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped == {"job_name": "ditto", "static_configs": [{"targets": ["ditto-1:8080", "ditto-2:8080"]}]}


def test_nats_server_understands_its_configuration() -> None:
    tried = subprocess.run(
        [nats_server_program(), "-t", "-c", DEPLOY / "compose" / "nats.conf"],
        env={"SERVER_NAME": "nats-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr


CONFIGURATIONS = {
    "compose": (DEPLOY / "compose" / "ditto.yaml").read_text(),
    "kubernetes": manifest("configmap")["data"]["ditto.yaml"],
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_configurations_can_be_used(name: str, tmp_path: Path) -> None:
    file = tmp_path / "ditto.yaml"
    file.write_text(CONFIGURATIONS[name])
    result = CliRunner().invoke(
        main, ["config", "show", "--config", str(file)], env={"PGPASSWORD": "x", "NATS_PASSWORD": "y"}
    )
    assert result.exit_code == 0, result.output


# ------------------------------------------------------------------------------------ Kubernetes


@pytest.mark.parametrize(
    "path",
    [path for path in BUILT_IN if path.stem not in {"servicemonitor", "kustomization"}],
    ids=lambda path: path.stem,
)
def test_a_manifest_is_what_kubernetes_allows(path: Path) -> None:
    for version in ("1.29", "1.34"):
        kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_the_manifests_find_each_other() -> None:
    pods = manifest("deployment")["spec"]["template"]
    labels, container = pods["metadata"]["labels"], pods["spec"]["containers"][0]
    (port,) = container["ports"]
    service = manifest("service")
    assert manifest("deployment")["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"] == labels
    monitor = manifest("servicemonitor")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert [end["port"] for end in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert pods["spec"]["volumes"][0]["configMap"]["name"] == manifest("configmap")["metadata"]["name"]
    assert container["envFrom"][0]["secretRef"]["name"] == manifest("secret.example")["metadata"]["name"]
    listed = manifest("kustomization")["resources"]
    assert {path.name for path in BUILT_IN} == {*listed, "kustomization.yaml", "secret.example.yaml"}


def test_the_pods_are_two_and_confined() -> None:
    spec = manifest("deployment")["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert spec["replicas"] == 2
    assert manifest("poddisruptionbudget")["spec"]["minAvailable"] == 1
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert spec["template"]["spec"]["securityContext"]["runAsUser"] == 10001
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


# ------------------------------------------------------------------------------------ systemd


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
@pytest.mark.parametrize("name", ["ditto.service", "ditto-serve.service"])
def test_the_units_are_understood_and_confined(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    source = (DEPLOY / "systemd" / name).read_text()
    assert "\nType=notify\n" in source
    unit.write_text(source.replace("/opt/ditto/bin/ditto", str(PROGRAMS / "ditto")))
    verified = run("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit)
    assert judged.returncode == 0, judged.stdout  # the threshold is ten times the exposure level


# ------------------------------------------------------------------------------------ Prometheus, Grafana


@pytest.mark.parametrize("path", sorted((TOP / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_the_workflows_are_what_github_allows(path: Path) -> None:
    done = run(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}, "more only where a job needs it"
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for name in re.findall(r"(?:scripts|requirements|\.ci)/[\w.-]+", "\n".join(commands)):
        assert (TOP / name).exists(), name


def test_renovate_pins_what_a_tag_names() -> None:
    done = run(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.renovate", "renovate.json")
    assert done.returncode == 0, done.stdout


def test_the_network_policy_is_that_of_ditto_and_has_its_ports() -> None:
    policy, deployment = manifest("networkpolicy")["spec"], manifest("deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"] == deployment["metadata"]["labels"]
    container = deployment["spec"]["containers"][0]
    assert {port["name"] for port in container["ports"]} == {each["port"] for each in policy["ingress"][0]["ports"]}
    assert [port["port"] for port in policy["egress"][-1]["ports"]] == [5432, 4222]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def used_metrics() -> set[str]:
    """Every metric of Ditto's in the alerts and on the dashboard, histograms by their own name."""
    names = re.findall(r"\bditto_[a-z0-9_]+", re.sub("#.*", "", RULES.read_text()) + DASHBOARD.read_text())
    return {name.removesuffix("_bucket") for name in names}


def test_each_alert_has_a_runbook_that_is_there() -> None:
    for alert in alerts():
        url = alert["annotations"]["runbook_url"]
        assert url.startswith("https://ditto.example.com/"), "absolute, and one address to replace"
        page, _, anchor = url.removeprefix("https://ditto.example.com/").partition("/#")
        headings = re.findall(r"^## (.+)$", (TOP / "docs" / f"{page}.md").read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, alert["alert"]
        assert alert["labels"]["severity"] in {"warning", "critical"}


def test_each_metric_that_is_used_is_documented() -> None:
    documented = set(re.findall(r"`(ditto_[a-z_]+)`", (TOP / "docs" / "metrics.md").read_text()))
    assert used_metrics() <= documented


def test_each_metric_that_is_used_exists() -> None:
    of_pipelines = {each.name for each in metrics.METRICS} | {each.name for each in metrics.DISTRIBUTIONS}
    assert used_metrics() <= of_pipelines | {each.name for each in NODE_METRICS}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 18
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        selector = 'job="$job", pipeline=~"$pipeline"'
        for target in panel["targets"]:  # what a node says of the whole fleet has no pipeline
            is_of_fleet = re.search(r'ditto_(fleet|node)_\w+\{job="\$job"\}', target["expr"])
            assert selector in target["expr"] or is_of_fleet, panel["title"]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool here: Debian has it in prometheus")
def test_promtool_finds_the_alerts_right(tmp_path: Path) -> None:
    checked = run("promtool", "check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tried = run("promtool", "test", "rules", TOP / "tests" / "deploy" / "ditto.rules.test.yml")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    # The dashboard's queries as rules, with Grafana's variables filled in.
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    values = {"$__rate_interval": "1m", "$job": "ditto", "$pipeline": ".*"}
    filled = [re.sub(r"\$\w+", lambda found: values[found[0]], query) for query in queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    panels = run("promtool", "check", "rules", tmp_path / "panels.yml")
    assert panels.returncode == 0, panels.stdout + panels.stderr
