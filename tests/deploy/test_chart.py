"""The Helm chart of `ditto serve`: what it makes of values, and that nothing made from it is stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from ditto import __version__
from ditto.config.server import ServerConfig
from scripts import chart

VERSIONS = ("1.29", "1.34")
DIGEST = "sha256:" + 64 * "0"

EVERYTHING: dict[str, Any] = {
    "replicas": 3,
    "image": {"repository": "registry.example.com/ditto", "digest": DIGEST, "pullSecrets": [{"name": "registry"}]},
    "config": {"max_pipelines": 500, "labels": {"zone": "a"}, "http": {"hosts": ["ditto.example.com"]}},
    "secrets": {"env": ["passwords"], "files": ["databases", "nats.creds"]},
    "env": [{"name": "TZ", "value": "UTC"}],
    "port": 8443,
    "tls": {"secretName": "certificate"},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "serviceAccount": {"name": "account", "annotations": {"role": "r"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "p"}, "token": {"name": "ditto-metrics", "key": "token"}},
    "networkPolicy": {"egress": [{"ports": [{"protocol": "TCP", "port": 9092}]}]},
    "podLabels": {"team": "data"},
    "podAnnotations": {"note": "x"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
    "volumes": [{"name": "files", "emptyDir": {}}],
    "volumeMounts": [{"name": "files", "mountPath": "/files"}],
}
LITTLE: dict[str, Any] = {
    "replicas": 1,
    "serviceAccount": {"create": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "topologySpread": [],
}
CASES = {"defaults": {}, "everything": EVERYTHING, "little": LITTLE}


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.chart", *arguments]
    return subprocess.run(command, cwd=chart.TOP, capture_output=True, text=True, check=False)


def render(tmp_path: Path, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The manifests by kind; of the two services, `Service` is the one for clients, `Nodes` the headless one."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = program("render", file)
    assert done.returncode == 0, done.stderr
    manifests = list(yaml.safe_load_all(done.stdout))
    found = {"Nodes" if each["spec"].get("clusterIP") == "None" else each["kind"]: each for each in manifests
             if "spec" in each} | {each["kind"]: each for each in manifests if "spec" not in each}  # fmt: skip
    assert len(found) == len(manifests)
    return found


def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (found,) = manifests["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = manifests["StatefulSet"]["spec"]["template"]["spec"]
    return found


# ------------------------------------------------------------------------------------ the chart itself


def test_what_is_made_from_the_chart_is_up_to_date() -> None:
    """The README's table, and the plain manifests."""
    done = program("check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run scripts/chart"


def test_helms_linter_finds_nothing() -> None:
    done = program("lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_deploys_this_version() -> None:
    assert yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_each_value_is_documented_and_in_the_schema() -> None:
    documented = chart.documented_values()
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())

    def look(values: dict[str, Any], schema: dict[str, Any], above: tuple[str, ...]) -> None:
        for name, value in values.items():
            path = (*above, name)
            is_documented = any(".".join(path[:depth]) in documented for depth in range(1, len(path) + 1))
            described = schema.get("properties", {}).get(name)
            if schema.get("additionalProperties") is False:
                assert described is not None, path
            if isinstance(value, dict) and described and "properties" in described:
                look(value, described, path)
            else:
                assert is_documented, path

    look(values, schema, ())
    assert set(schema["properties"]) == {*values, "global"}
    own = {field.encode_name for field in msgspec.structs.fields(ServerConfig)}
    assert set(schema["properties"]["config"]["properties"]) == own, "as `ditto serve` has them"
    for name, described in schema["properties"].items():
        if described.get("additionalProperties") is False and name not in {"serviceMonitor", "config"}:
            assert set(described["properties"]) == set(values[name]), name


# ------------------------------------------------------------------------------------ what it makes


@pytest.mark.parametrize("case", CASES)
def test_each_manifest_is_what_kubernetes_allows(case: str, tmp_path: Path) -> None:
    manifests = render(tmp_path, CASES[case])
    for manifest in manifests.values():
        if manifest["kind"] != "ServiceMonitor":  # not one of Kubernetes' own
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
    expected = {"ConfigMap", "StatefulSet", "Service", "Nodes"}
    if case != "little":
        expected |= {"ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
    assert set(manifests) == expected | ({"ServiceMonitor"} if case == "everything" else set())


@pytest.mark.parametrize("path", sorted(chart.PLAIN.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_plain_manifest_is_what_kubernetes_allows(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    if manifest["kind"] not in {"ServiceMonitor", "Kustomization"}:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_manifests_find_each_other(tmp_path: Path) -> None:
    made = render(tmp_path, EVERYTHING)
    labels = made["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        made["StatefulSet"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["Nodes"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *[each["labelSelector"]["matchLabels"] for each in pod(made)["topologySpreadConstraints"]],
    ]
    assert all(each == selectors[0] for each in selectors)
    assert selectors[0].items() < labels.items()
    assert selectors[0]["app.kubernetes.io/name"] != "ditto", "that is the label of a Deployment of `ditto run`"
    assert made["StatefulSet"]["spec"]["serviceName"] == made["Nodes"]["metadata"]["name"]
    assert pod(made)["serviceAccountName"] == made["ServiceAccount"]["metadata"]["name"] == "account"

    scraped = made["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert scraped <= made["Nodes"]["metadata"]["labels"].items()
    assert not scraped <= made["Service"]["metadata"]["labels"].items(), "each node would be scraped twice"
    (end,) = made["ServiceMonitor"]["spec"]["endpoints"]
    assert end["authorization"] == {"credentials": {"name": "ditto-metrics", "key": "token"}}
    assert (end["port"], end["scheme"]) == (made["Nodes"]["spec"]["ports"][0]["name"], "https")
    assert end["relabelings"] == [{"targetLabel": "job", "replacement": "ditto"}]

    (port,) = container(made)["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 8443)
    assert made["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": "http"}]
    volumes = {each["name"]: each for each in pod(made)["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in container(made)["volumeMounts"]}
    assert mounts["/etc/ditto/secrets/databases"]["secret"]["secretName"] == "databases"
    assert mounts["/etc/ditto/secrets/nats.creds"]["secret"]["secretName"] == "nats.creds"
    assert mounts["/etc/ditto/tls"]["secret"]["secretName"] == "certificate"
    assert mounts["/etc/ditto/server.yaml"]["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]
    assert container(made)["envFrom"] == [{"secretRef": {"name": "passwords"}}]
    url = {each["name"]: each.get("value") for each in container(made)["env"]}["DITTO_HTTP_URL"]
    assert url == f"https://$(POD_NAME).{made['Nodes']['metadata']['name']}.{chart.NAMESPACE}.svc:8443"
    assert container(made)["args"] == ["serve", "--config", "/etc/ditto/server.yaml"]
    assert container(made)["image"] == f"registry.example.com/ditto@{DIGEST}"


def test_the_pods_are_confined_and_spread(tmp_path: Path) -> None:
    made = render(tmp_path, {})
    assert container(made)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    security = pod(made)["securityContext"]
    assert security["runAsNonRoot"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (security["runAsUser"], security["runAsGroup"]) == (10001, 10001)
    assert pod(made)["automountServiceAccountToken"] is False
    keys = {each["topologyKey"]: each["whenUnsatisfiable"] for each in pod(made)["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname": "DoNotSchedule", "topology.kubernetes.io/zone": "ScheduleAnyway"}
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert made["PodDisruptionBudget"]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("case", CASES)
def test_only_the_event_loop_decides_whether_a_node_lives(case: str, tmp_path: Path) -> None:
    asked = container(render(tmp_path, CASES[case]))
    scheme = "HTTPS" if case == "everything" else "HTTP"
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for name, path in paths.items():
        assert asked[name]["httpGet"] == {"path": path, "port": "http", "scheme": scheme}


def test_a_changed_configuration_replaces_the_pods(tmp_path: Path) -> None:
    def sum_of(values: dict[str, Any]) -> str:
        template = render(tmp_path, values)["StatefulSet"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["ditto/config"])

    assert sum_of({}) == sum_of({"replicas": 5})
    assert len({sum_of({}), sum_of({"config": {"workers": 3}}), sum_of({"port": 9000})}) == 3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": "three"}, "replicas"),
        ({"image": {"digest": "sha256:0"}}, "digest"),
        ({"config": {"node": "n1"}}, "node"),
        ({"config": {"http": {"listen": ":1"}}}, "listen"),
        ({"config": {"nats": {"url": None}}}, "url"),
        ({"config": {"max_pipeline": 5}}, "max_pipeline"),
        ({"port": 80}, "port"),
        ({"secrets": {"env": "passwords"}}, "env"),
        ({"serviceMonitor": {"enabled": True}}, "name"),
        ({"serviceMonitor": {"enabled": True, "token": {"name": "x"}}}, "key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], named: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = program("render", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr


# ------------------------------------------------------------------------------------ the helm program


HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"


def helm() -> str:
    """The `helm` in PATH, or one that is built once (a few minutes) and kept in build/tools."""
    if found := shutil.which("helm"):
        return found
    folder = chart.TOP / "build" / "tools"
    if not (folder / "helm").exists():
        assert shutil.which("go"), "neither helm nor Go is on this machine: install one of them"
        env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": ""}
        subprocess.run(["go", "install", HELM], env=env, cwd="/", check=True, timeout=900)
    return str(folder / "helm")


@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("case", CASES)
def test_helm_3_makes_the_same(case: str, tmp_path: Path) -> None:
    """The other tests use the library of Helm 4."""
    program_name = helm()
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(CASES[case]))

    def run(*arguments: str) -> str:
        done = subprocess.run([program_name, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # A helm that was built by `go install` takes its cluster for a very old one.
    given = ["--namespace", chart.NAMESPACE, "--values", str(file), "--kube-version", VERSIONS[0]]
    run("lint", "--strict", str(chart.CHART), *given)
    printed = run("template", chart.RELEASE, str(chart.CHART), *given)

    def by_name(text: str) -> dict[tuple[str, str], Any]:
        return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text) if each}

    assert by_name(printed) == by_name(program("render", file).stdout)
