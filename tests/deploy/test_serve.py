"""The configurations of `ditto serve` in deploy/, and the compose file of a fleet."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ditto.config import load_server
from ditto.fleet import buckets, node, workers
from ditto.fleet.document import check, resolve
from scripts import chart

COMPOSE = chart.TOP / "deploy" / "compose" / "serve"
PIPELINES = sorted((COMPOSE / "pipelines").glob("*.yaml"))
PLAIN: dict[str, Any] = yaml.safe_load((chart.PLAIN / "configmap.yaml").read_text())
SECRETS = {"NATS_PASSWORD": "x", "ADMIN_TOKEN_SHA256": 64 * "0", "METRICS_TOKEN_SHA256": 64 * "1"}


def test_the_plain_manifests_configuration_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(PLAIN["data"]["server.yaml"])
    url = "http://ditto-serve-0.ditto-serve-nodes.ditto.svc:7480"
    config = load_server(file, {**SECRETS, "POD_NAME": "ditto-serve-0", "DITTO_HTTP_URL": url})
    assert (config.http.listen, config.http.url, config.node) == (":7480", url, None)
    assert (config.max_pipelines, config.workers, config.replicas) == (100, 2, 3)
    assert {each.role for each in config.auth.tokens} == {"admin", "read"}
    secret = yaml.safe_load((chart.PLAIN / "secret.example.yaml").read_text())
    assert set(SECRETS) < set(secret["stringData"]), "each reference has a key of the Secret"
    assert set(re.findall(r"\$\{(\w+)\}", PLAIN["data"]["server.yaml"])) == set(SECRETS)


def test_with_tls_the_node_has_its_certificate(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"tls": {"secretName": "certificate"}, "config": {"labels": {"zone": "a"}}}))
    command: list[str | Path] = [sys.executable, "-m", "scripts.chart", "render", values]
    done = subprocess.run(command, cwd=chart.TOP, capture_output=True, text=True, check=True)
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    file = tmp_path / "server.yaml"
    file.write_text(made["ConfigMap"]["data"]["server.yaml"])
    config = load_server(file, {})
    assert (config.http.tls.cert, config.http.tls.key) == ("/etc/ditto/tls/tls.crt", "/etc/ditto/tls/tls.key")
    assert config.labels == {"zone": "a"}


def test_everywhere_a_node_has_the_time_to_hand_its_pipelines_over() -> None:
    needed_s = node._HAND_OVER_S + node._DRAIN_S + buckets._TIMEOUT_S + workers._END_S
    assert needed_s <= 55, "the documents say so"
    unit = (chart.TOP / "deploy" / "systemd" / "ditto-serve.service").read_text()
    pods = yaml.safe_load((chart.PLAIN / "statefulset.yaml").read_text())["spec"]["template"]["spec"]
    given_s = {
        "systemd": int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]),
        "kubernetes": pods["terminationGracePeriodSeconds"],
        **{name: int(compose()["services"][name]["stop_grace_period"].rstrip("s")) for name in ("node-1", "node-2")},
    }
    assert all(each >= needed_s + 15 for each in given_s.values()), given_s
    assert "\nKillMode=mixed\n" in unit, "the signal is for the node, not for its workers"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found


def test_the_compose_file_is_what_the_specification_allows() -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    command: list[str | Path] = [program, "--builtin-schema", "vendor.compose-spec", COMPOSE / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_has_two_nodes_and_mounts_only_what_is_there() -> None:
    services, configs = compose()["services"], compose()["configs"]
    assert set(services) == {"postgres", "nats", "node-1", "node-2", "pipelines"}
    assert all((COMPOSE / config["file"]).is_file() for config in configs.values())
    used = {mounted["source"] for service in services.values() for mounted in service.get("configs", [])}
    assert used == set(configs)
    assert all(each["ports"][0].startswith("127.0.0.1:") for name, each in services.items() if name != "pipelines")
    for name in ("node-1", "node-2", "pipelines"):
        assert services[name]["read_only"], name
        assert services[name]["cap_drop"] == ["ALL"], name
    for name in ("node-1", "node-2"):
        assert services[name]["hostname"] == name, "a node has the name of its host"
    assert (COMPOSE / services["node-1"]["build"] / "Dockerfile").is_file()


def test_the_token_of_the_compose_file_is_that_of_its_nodes() -> None:
    config = load_server(COMPOSE / "server.yaml", {})
    token = compose()["services"]["pipelines"]["environment"]["DITTO_TOKEN"]
    (known,) = config.auth.tokens
    assert known.sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert config.http.listen == ":7480"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_pipelines_of_the_compose_file_can_be_used(path: Path) -> None:
    environment = dict.fromkeys(compose()["services"]["node-1"]["environment"], "x")
    document = check(path.stem, yaml.safe_load(path.read_text()))
    config = resolve(path.stem, document, environment)
    assert f"CREATE DATABASE {path.stem};" in (COMPOSE / "databases.sql").read_text()
    assert config.postgres.slot == config.events.prefix == path.stem


def test_no_two_pipelines_of_the_compose_file_share_a_slot_or_a_stream() -> None:
    documents = [yaml.safe_load(path.read_text()) for path in PIPELINES]
    assert len(documents) == len({each["postgres"]["slot"] for each in documents})
    assert len(documents) == len({each["nats"]["stream"] for each in documents}) == 3
