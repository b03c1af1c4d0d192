"""HTTP of a running Ditto: probes, metrics, status, OpenAPI."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from ditto.testing.process import free_port
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


def fetch(port: int, path: str, *, host: str = "127.0.0.1") -> tuple[int, str]:
    """Status code and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with closing(error):
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def samples(port: int) -> dict[str, float]:
    """Every sample of /metrics by name and labels, but for the pipeline's, which each of them has."""
    code, text = fetch(port, "/metrics")
    assert code == 200, text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples if family.name.startswith("ditto_") else ():
            assert labels.pop("pipeline"), name
            pairs = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
            found[f"{name}{{{pairs}}}" if pairs else name] = value
    return found


def status(port: int) -> dict[str, Any]:
    code, text = fetch(port, "/v1/status")
    assert code == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


async def test_a_streaming_ditto_tells_what_it_does(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)", "CREATE TABLE hidden (id int PRIMARY KEY)")
    port = free_port()
    ditto = await world.streaming(
        http_listen=f"127.0.0.1:{port}",
        events_tables={"trades": ["insert", "update"], "fence": ["insert"]},
    )
    world.sql(
        "INSERT INTO trades SELECT generate_series(1, 500)",
        "UPDATE trades SET id = id + 1000 WHERE id <= 20",
        "DELETE FROM trades WHERE id > 1000",
        "INSERT INTO hidden SELECT generate_series(1, 7)",
    )
    await world.fence()
    await world.confirms_tail()

    assert fetch(port, "/healthz")[0] == fetch(port, "/readyz")[0] == fetch(port, "/ready")[0] == 200
    found = samples(port)
    assert found['ditto_events_total{action="insert",schema="public",table="trades"}'] == 500
    assert found['ditto_events_total{action="update",schema="public",table="trades"}'] == 20
    assert found["ditto_events_sent_total"] == 521, "and the fence"
    assert found["ditto_filtered_events_total"] >= 20, "the deleted ones; the publication leaves hidden out, or Ditto"
    assert found["ditto_messages_stored_total"] >= 521
    assert found["ditto_acknowledgement_seconds_count"] >= 1
    assert found["ditto_commit_to_stored_seconds_count"] == found["ditto_acknowledgement_seconds_count"]
    assert 0 < found["ditto_commit_to_stored_seconds_sum"] < 60
    assert found['ditto_stage_seconds_total{stage="read"}'] > 0
    assert found['ditto_state{state="streaming"}'] == found["ditto_leader"] == 1
    assert found["ditto_window_events"] == 0
    assert found["ditto_lag_seconds"] < 60
    assert found["ditto_read_bytes_total"] > 0
    assert found["ditto_sent_bytes_total"] > 521 * 100

    await eventually(
        lambda: bool((status(port)["survey"]["leader"] or {}).get("host")), "it has looked at both servers"
    )
    told = status(port)
    assert (told["source"], told["pipeline"]) == ("ditto", world.name)
    assert told["process"]["is_ready"]
    assert [each["state"] for each in told["process"]["states"]] == ["starting", "connecting", "streaming"]
    assert told["survey"]["slot"]["name"] == world.name
    assert told["survey"]["leader"]["host"] == socket.gethostname()
    assert told["survey"]["standbys"] == told["survey"]["problems"] == []
    await eventually(lambda: samples(port).get("ditto_slot_active") == 1, "so do the metrics, a second later at most")

    of_the_pipeline = [*ditto.logs("pipeline.state"), *ditto.logs("pipeline.streaming")]
    assert {entry["pipeline"] for entry in of_the_pipeline} == {world.name}
    document = json.loads(fetch(port, "/schema/openapi.json")[1])
    assert {"/healthz", "/readyz", "/ready", "/metrics", "/v1/status"} <= set(document["paths"])
    assert await ditto.stop() == 0
    assert fetch(port, "/healthz")[0] == 0, "it does not listen any more"
    assert "Traceback" not in ditto.output


async def test_it_answers_and_is_not_ready_while_nats_is_away(nats_world: World) -> None:
    port = free_port()
    ditto = await nats_world.streaming(http_listen=f"127.0.0.1:{port}")
    nats_world.nats_server.stop()
    await eventually(lambda: fetch(port, "/readyz")[0] == 503, "it is not ready")
    await eventually(lambda: status(port)["process"]["state"] == "waiting", "it waits for the next session")
    assert fetch(port, "/healthz")[0] == 200
    assert "SinkLost" in fetch(port, "/readyz")[1]
    await eventually(lambda: samples(port)["ditto_survey_problems"] == 1, "NATS does not answer the survey either")
    assert samples(port)["ditto_retained_wal_bytes"] >= 0, "what piles up is seen all the same"
    nats_world.nats_server.start()
    await eventually(lambda: fetch(port, "/readyz")[0] == 200, "it is ready again", timeout_s=30)
    assert sum(value for name, value in samples(port).items() if "ditto_sessions_total{" in name) >= 1
    assert await ditto.stop() == 0


async def test_a_port_that_is_taken_stops_it_at_once(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ditto = world.ditto(http_listen=f"127.0.0.1:{other.getsockname()[1]}")
        assert await ditto.ended() == 2
    assert "http.listen" in ditto.sentence()
    assert "hint" in ditto.sentence()
