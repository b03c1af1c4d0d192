"""Keys that have moved: their former paths work like the current ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ditto.config import FORMER, KEYS, Config, load, masked, schema
from ditto.config.keys import variable_of
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES: dict[str, tuple[Any, Any]] = {
    "nats.max_in_flight": (77, 77),
    "nats.max_in_flight_bytes": ("${BYTES:-78}", 78),
    "nats.confirm_delay": ("3m", 180.0),
    "nats.lease_ttl": (20, 20.0),
    "nats.on_gap": ("Continue", "continue"),
}
ATTRIBUTES = {"confirm_delay": "confirm_delay_s", "lease_ttl": "lease_ttl_s"}


def write(folder: Path, document: dict[str, Any]) -> Path:
    file = folder / "ditto.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def refusal(file: Path | None, environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(file, {}, environ)
    return caught.value


def value_of(config: Config, path: str) -> Any:
    name = FORMER[path].rpartition(".")[2]
    return getattr(config.delivery, ATTRIBUTES.get(name, name))


@pytest.mark.parametrize("path", FORMER)
def test_former_paths_in_a_file(path: str, tmp_path: Path) -> None:
    written, expected = SAMPLES[path]
    section, name = path.split(".")
    config = load(write(tmp_path, {section: {name: written, "stream": "S"}}), {}, {})
    assert value_of(config, path) == expected
    assert config.nats.stream == "S"


@pytest.mark.parametrize("path", FORMER)
def test_former_paths_beside_a_file(path: str, tmp_path: Path) -> None:
    written, expected = SAMPLES[path]
    section, name = path.split(".")
    config = load(write(tmp_path, {section: {name: written}, "file": {"path": "/x"}}), {}, {})
    assert (value_of(config, path), config.sink) == (expected, "file")
    text = "78" if path == "nats.max_in_flight_bytes" else str(written)
    config = load(write(tmp_path, {"file": {"path": "/x"}}), {}, {variable_of(path): text})
    assert (value_of(config, path), config.sink) == (expected, "file")


@pytest.mark.parametrize("path", FORMER)
def test_former_variables(path: str) -> None:
    text = "78" if path == "nats.max_in_flight_bytes" else str(SAMPLES[path][0])
    assert value_of(load(None, {}, {variable_of(path): text}), path) == SAMPLES[path][1]
    assert variable_of(path) not in KEYS[FORMER[path]].variables


def test_both_names_with_different_values(tmp_path: Path) -> None:
    file = write(tmp_path, {"nats": {"on_gap": "stop"}, "delivery": {"on_gap": "continue"}})
    error = refusal(file, {})
    assert error.message == f"delivery.on_gap in {file} and nats.on_gap in {file} have different values"
    assert error.hint == "nats.on_gap is the former name of delivery.on_gap: give one of them"
    error = refusal(None, {"DITTO_NATS_LEASE_TTL": "3s", "DITTO_DELIVERY_LEASE_TTL": "5s"})
    assert "from DITTO_DELIVERY_LEASE_TTL and nats.lease_ttl from DITTO_NATS_LEASE_TTL" in error.message


def test_both_names_with_the_same_value(tmp_path: Path) -> None:
    file = write(tmp_path, {"nats": {"confirm_delay": "2m"}, "delivery": {"confirm_delay": 120}})
    config = load(file, {}, {"DITTO_NATS_ON_GAP": "CONTINUE", "DITTO_DELIVERY_ON_GAP": "continue"})
    assert (config.delivery.confirm_delay_s, config.delivery.on_gap) == (120.0, "continue")


@pytest.mark.parametrize("in_file", ["nats", "delivery"])
@pytest.mark.parametrize("variable", ["DITTO_NATS_ON_GAP", "DITTO_DELIVERY_ON_GAP"])
def test_the_environment_wins_under_either_name(in_file: str, variable: str, tmp_path: Path) -> None:
    file = write(tmp_path, {in_file: {"on_gap": "stop"}})
    assert load(file, {}, {variable: "continue"}).delivery.on_gap == "continue"


def test_errors_name_the_key_as_it_was_written(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, {"nats": {"max_in_flight": 0}}), {}).message.startswith("nats.max_in_flight in ")
    assert "DITTO_NATS_LEASE_TTL must be 0" in refusal(None, {"DITTO_NATS_LEASE_TTL": "500ms"}).message


def test_suggestions_name_the_current_key(tmp_path: Path) -> None:
    file = write(tmp_path, {"nats": {"on_gapp": "stop"}})
    assert refusal(file, {}).message.endswith("did you mean delivery.on_gap?")
    assert refusal(None, {"DITTO_NATS_ON_GAPS": "x"}).message.endswith("did you mean DITTO_DELIVERY_ON_GAP?")


def test_only_the_current_paths_are_shown() -> None:
    shown = masked(load(None, {}, {"DITTO_NATS_ON_GAP": "continue"}))
    assert shown["delivery"]["on_gap"] == "continue"
    assert "on_gap" not in shown["nats"]


def test_the_schema_has_former_paths() -> None:
    properties = schema()["$defs"]["Nats"]["properties"]
    current = schema()["$defs"]["Delivery"]["properties"]
    assert properties["on_gap"]["description"] == "The former name of delivery.on_gap."
    assert properties["lease_ttl"]["anyOf"] == current["lease_ttl"]["anyOf"]


def test_a_pipeline_is_called_as_its_slot() -> None:
    assert load(None, {}, {"DITTO_POSTGRES_SLOT": "shop"}).label == "shop"
    assert load(None, {}, {"DITTO_POSTGRES_SLOT": "shop", "DITTO_NAME": "shop-7.eu"}).label == "shop-7.eu"
