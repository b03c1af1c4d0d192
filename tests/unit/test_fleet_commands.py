"""The commands that ask a fleet, against its application on a socket. The node behind it is a fake."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from click.testing import CliRunner

from ditto.api.fleet.auth import digest
from ditto.api.fleet.server import serve_fleet
from ditto.cli import main
from ditto.config.server import HttpTls
from ditto.errors import ConfigError, ControlPlaneLost
from ditto.fleet.records import Problem
from ditto.testing.process import free_port
from unit.fleet_asking import FILE, Ask, _log_as_before, ask, folder, serving, terminal
from unit.fleet_fakes import TOKENS, FakeNode, eventually, failed, summary

__all__ = ["_log_as_before", "ask", "folder", "terminal"]

# ------------------------------------------------------------------------------------ nodes that cannot be asked


def test_a_node_is_asked_about_several_documents_at_the_same_time(ask: Ask, folder: Path) -> None:
    """Hundreds, one after the other, would wait for as many answers of a node that is far away or busy."""
    for number in range(3):
        (folder / f"more{number}.yaml").write_text(FILE.replace("SHOP", f"MORE{number}"))
    are_there, asked, find = asyncio.Event(), 0, ask.node.store.find

    async def found_late(name: str) -> Any:
        nonlocal asked
        asked += 1
        if asked == 4:
            are_there.set()
        async with asyncio.timeout(10):
            await are_there.wait()
        return await find(name)

    ask.node.store.find = found_late
    assert "more2 is new" in ask("pipelines", "apply", "-f", str(folder), "--dry-run")


def test_a_node_that_hangs_is_passed_over_where_nothing_changes(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.api_client.client._LOOK_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, as the system does for a frozen process
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ask("nodes", DITTO_SERVER=f"{hanging},{ask.environ['DITTO_SERVER']}")
        said = ask("nodes", code=5, DITTO_SERVER=hanging)
    assert f"no answer from {hanging} within 1 s" in said


@pytest.mark.parametrize("name", ["../nodes", "..", "a/b", ""])
def test_a_name_that_leads_elsewhere_is_refused(ask: Ask, name: str) -> None:
    said = ask("pipelines", "get", name, code=2)
    assert "is no name of a pipeline" in said
    assert "hint: " in said


def test_a_node_that_is_starting_is_passed_over_or_waited_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask.node.state, ask.node.reason = "connecting", "it connects to the control plane"
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            ask.node.state = "live"

    monkeypatch.setattr("ditto.api_client.client.time.sleep", wait)
    with serving(FakeNode()) as other:
        shown = ask("pipelines", "list", DITTO_SERVER=f"{ask.environ['DITTO_SERVER']},http://127.0.0.1:{other}")
    assert not waited
    assert "There is no pipeline" in shown
    shown = ask("pipelines", "list")
    assert shown.count("node n1 is starting: it connects to the control plane; waiting for it") == 1
    assert "There is no pipeline" in shown
    ask.node.state = "connecting"
    monkeypatch.setattr("ditto.api_client.client._STARTING_S", 0.0)
    shown = ask("pipelines", "get", "shop", code=5)
    assert "node n1 is starting" in shown
    assert "hint: ask again in a few seconds" in shown


def test_a_node_of_this_machine_that_does_not_listen_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    node, port = FakeNode(), free_port()
    ask = Ask(node, port)
    with ExitStack() as stack:
        waited: list[float] = []

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 2:
                stack.enter_context(serving(node, port=port))

        monkeypatch.setattr("ditto.api_client.client.time.sleep", wait)
        shown = ask("pipelines", "list")
        assert shown.count(f"nothing listens at http://127.0.0.1:{port} yet; waiting for it") == 1
        assert "There is no pipeline" in shown
    assert len(waited) == 2
    monkeypatch.setattr("ditto.cli.fleet_options._LISTENING_S", 0.0)
    shown = ask("pipelines", "list", code=5)
    assert f"no answer from http://127.0.0.1:{port}: Connection refused" in shown
    assert "yet" not in shown
    assert len(waited) == 2


# ------------------------------------------------------------------------------------ the others


def test_pause_resume_restart_history_rollback_delete(ask: Ask, folder: Path) -> None:
    ask("pipelines", "apply", "-f", str(folder))
    (folder / "shop.yaml").write_text(FILE + "delivery: {lease_ttl: 20s}\n")
    ask("pipelines", "apply", "-f", str(folder))
    assert "shop: is paused (revision 3)" in ask("pipelines", "pause", "shop")
    assert "was paused already" in ask("pipelines", "pause", "shop")
    assert "shop: is paused, and stays so (revision 4)" in ask("pipelines", "restart", "shop")
    assert "shop: goes on" in ask("pipelines", "resume", "shop")
    assert "shop: begins anew" in ask("pipelines", "restart", "shop")
    told = json.loads(ask("pipelines", "history", "shop", "--json"))
    assert [each["action"] for each in told["revisions"]] == ["restart", "resume", "restart", "pause", "apply", "apply"]
    assert "delivery.lease_ttl" in ask("pipelines", "history", "shop")
    assert "nobody can be asked" in ask("pipelines", "rollback", "shop", code=2)
    shown = ask("pipelines", "rollback", "shop", "--yes")
    assert "ends its session and begins another (restart)" in shown
    removed = ["  - delivery:", "  -   lease_ttl: 20s", "shop: revision 7 has the document of revision 1."]
    assert shown.splitlines()[1:] == removed, "no line of what stays"
    assert "nothing has changed" in ask("pipelines", "rollback", "shop", "--to", "1")
    assert "lease_ttl: 20s" in ask("pipelines", "get", "shop", "--revision", "2")
    assert json.loads(ask("pipelines", "get", "shop", "--json"))["revision"] == 7
    assert "there is no terminal" in ask("pipelines", "delete", "shop", code=2)
    shown = ask("pipelines", "delete", "shop", "--yes")
    assert "ditto slot drop --slot shop" in shown
    assert not ask.node.store.revisions
    for verb in ("get", "pause", "history"):
        assert "there is no pipeline 'shop'" in ask("pipelines", verb, "shop", code=5)


def test_list_and_status_say_what_is_wrong(ask: Ask, folder: Path) -> None:
    assert "There is no pipeline" in ask("pipelines", "list")
    ask("pipelines", "apply", "-f", str(folder))
    ask("pipelines", "pause", "shop")
    assert "paused" in ask("pipelines", "status")
    ask.node.view.summaries["shop"] = msgspec.structs.replace(failed("shop", 2), node="n1")
    shown = ask("pipelines", "status", code=1)
    assert "the slot is gone" in shown
    assert "hint: create it\n  then: ditto pipelines resume shop" in shown
    assert ask("pipelines", "status", "shop", code=1).count("the slot is gone") == 1
    assert json.loads(ask("pipelines", "status", "--json", code=1))["pipelines"][0]["error"]["code"] == 3
    assert "failed" in ask("pipelines", "list")
    assert "there is no pipeline nothing" in ask("pipelines", "status", "nothing", code=5)


@pytest.mark.long
def test_watching_waits_for_a_fleet_that_is_away_until_interrupted(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("pipelines", "apply", "-f", str(folder))
    server, looks = ask.environ["DITTO_SERVER"], []

    def sleep(_: float) -> None:
        looks.append(1)
        if len(looks) == 1:
            ask.node.view.pipelines = gone
        if len(looks) == 3:
            del ask.node.view.pipelines
        if len(looks) == 5:
            raise KeyboardInterrupt

    def gone() -> Any:
        raise ControlPlaneLost("it is away")

    monkeypatch.setattr("ditto.cli.pipelines_status.time.sleep", sleep)
    shown = ask("pipelines", "status", "--watch", code=130)
    assert shown.count("it is away; waiting for it to come back") == 1
    assert shown.count("PIPELINE") == 3, "before, and twice after"
    looks.clear()
    shown = ask("pipelines", "status", "--watch", "--json", code=130)
    assert shown.count('{"pipelines"') == 3
    assert "no answer from" in ask("pipelines", "status", "--watch", code=5, DITTO_SERVER=f"{server}9")


def test_on_a_screen_what_needs_somebody_is_at_the_top(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"pipeline-{number:03}" for number in range(60)]
    ask.node.fill(*names)
    for name in names:
        ask.node.view.summaries[name] = summary(name, state="streaming")
    ask.node.view.summaries["pipeline-057"] = failed("pipeline-057", 1)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ditto.cli.pipelines_status.time.sleep", interrupt)
    screen = {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "80", "LINES": "20"}
    shown = ask("pipelines", "status", "--watch", code=130, **screen)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert lines[0].rstrip() == "60 pipelines: 1 failed, 59 streaming"
    assert lines[2].startswith("pipeline-057  failed")
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_nodes_and_drain(ask: Ask) -> None:
    assert "zone=a" in ask("nodes")
    assert json.loads(ask("nodes", "--json"))["answered_by"] == "n1"
    assert "runs no pipeline any more" in ask("drain", "n1")
    assert ask.node.requests.asked == [("drain", "n1")]
    assert "there is no live node 'n9'" in ask("drain", "n9", code=5)
    ask.node.view.nodes_found[0] = msgspec.structs.replace(ask.node.view.nodes_found[0], pipelines=2)
    assert "drains: it runs 2 pipelines" in ask("drain", "n1", "--timeout", "0s")
    assert "runs 2 pipelines still, after 10ms" in ask("drain", "n1", "--timeout", "10ms", code=5)
    ask.node.view.nodes_found[0] = msgspec.structs.replace(ask.node.view.nodes_found[0], pipelines=0)
    ask.node.fill("shop")
    ask.node.view.unplaced, ask.node.requests.asked = ["shop"], []
    shown = ask("drain", "n1", code=2)
    assert "No other node can take pipeline shop" in shown
    assert "hint: give --yes" in shown
    assert not ask.node.requests.asked
    assert "pipeline shop runs nowhere now: no node is there.\n  hint: start one" in ask("drain", "n1", "--yes")
    assert ask.node.requests.asked == [("drain", "n1")]
    ask.node.store.revisions.clear()
    ask.node.view.is_current = False
    ask.node.cut_off_by = Problem(message="NATS refuses", hint="give the right")
    for command in (("nodes",), ("pipelines", "list"), ("pipelines", "status")):
        shown = ask(*command)
        assert "node n1 is cut off from the control plane (NATS refuses): this is as of when that began" in shown
        assert "hint: give the right" in shown


# ------------------------------------------------------------------------------------ the way there


def test_no_token_a_wrong_one_a_small_role_no_server(ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.cli.fleet_options._LISTENING_S", 0.0)
    assert "ditto token makes one" in ask("pipelines", "list", code=5, DITTO_TOKEN="")
    shown = ask("pipelines", "list", code=5, DITTO_TOKEN="hunter2")
    assert "not one of those that the node knows" in shown
    assert "hunter2" not in shown
    shown = ask("pipelines", "apply", "-f", str(folder), code=5, DITTO_TOKEN=TOKENS["read"])
    assert "has the role read, and this needs admin" in shown
    shown = ask("pipelines", "list", code=5, DITTO_SERVER=f"http://127.0.0.1:{free_port()}")
    assert "Connection refused" in shown
    assert "ditto serve" in shown
    two = f"http://127.0.0.1:{free_port()},{ask.environ['DITTO_SERVER']}"
    assert "There is no pipeline" in ask("pipelines", "list", DITTO_SERVER=two)
    for address in ("nats://x", "x", "http://", "http://u:hunter2@n1"):
        shown = ask("pipelines", "list", code=2, DITTO_SERVER=address)
        assert "Traceback" not in shown


def test_a_server_that_is_no_node_is_told_from_one(ask: Ask) -> None:
    ask.node.app = _teapot
    with serving(ask.node) as port:
        shown = ask("pipelines", "list", code=5, DITTO_SERVER=f"http://127.0.0.1:{port}")
    assert "answers 418, and not as a node of a fleet does" in shown


async def _teapot(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"short and stout"})


def issue(folder: Path, authority: trustme.CA) -> HttpTls:
    """A certificate for 127.0.0.1, in the place of the one before, and `ca.pem` of its authority."""
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return HttpTls(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))


def test_tls_and_a_certificate_that_is_replaced(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.api.fleet.server._RELOAD_S", 0.05)
    with serving(ask.node, tls=issue(tmp_path, trustme.CA())) as port:
        address, ca = f"https://127.0.0.1:{port}", str(tmp_path / "ca.pem")
        shown = ask("pipelines", "list", code=5, DITTO_SERVER=address)
        assert "is not trusted" in shown
        assert "--ca" in shown
        assert "There is no pipeline" in ask("pipelines", "list", "--ca", ca, DITTO_SERVER=address)
        shown = ask("pipelines", "list", "--ca", ca, code=5, DITTO_SERVER=f"https://localhost:{port}")
        assert "is that of another name" in shown
        shown = ask("pipelines", "list", code=5, DITTO_SERVER=f"http://127.0.0.1:{port}")
        assert f"Then ask {address}" in shown
        plain = ask.environ["DITTO_SERVER"]
        shown = ask("pipelines", "list", code=5, DITTO_SERVER=plain.replace("http:", "https:"))
        assert "does not use TLS" in shown
        assert f"ask it without: {plain}" in shown
        issue(tmp_path, trustme.CA())
        eventually(lambda: ask.works("pipelines", "list", "--ca", ca, DITTO_SERVER=address), "the new one is used")
    assert "cannot be read" in ask("pipelines", "list", "--ca", str(tmp_path / "nothing.pem"), code=2)


def test_a_certificate_that_cannot_be_used(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    tls = HttpTls(cert=str(tmp_path / "empty.pem"), key=str(tmp_path / "empty.pem"))
    with pytest.raises(ConfigError, match=r"empty\.pem with the key .* cannot be used"):
        asyncio.run(serve_fleet(ask.node.app, "127.0.0.1:0", tls).__aenter__())


def test_a_token_is_printed_once_and_its_digest_is_for_the_configuration() -> None:
    runner = CliRunner().invoke(main, ["token", "--name", "ci", "--role", "operate"])
    token = runner.stdout.strip()
    assert len(token) > 40
    assert f'{{name: "ci", role: operate, sha256: {digest(token)}}}' in runner.stderr
    assert token not in runner.stderr
