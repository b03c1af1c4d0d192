"""`ditto pipelines apply`: what is shown, what is asked, what is applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from ditto.fleet.records import Problem
from unit.fleet_asking import FILE, Ask, _log_as_before, ask, folder, terminal
from unit.fleet_fakes import DOCUMENT

__all__ = ["_log_as_before", "ask", "folder", "terminal"]


def test_apply_creates_shows_and_changes_only_what_differs(ask: Ask, folder: Path) -> None:
    shown = ask("pipelines", "apply", "-f", str(folder))
    assert "shop is new, and starts" in shown
    assert "  + postgres:" in shown
    assert ask.node.store.revisions["shop"][-1].record.document == DOCUMENT
    assert "1 pipeline unchanged" in ask("pipelines", "apply", "-f", str(folder))
    assert ask.revision("shop") == 1
    (folder / "shop.yaml").write_text(FILE + "events: {tables: {orders: [insert]}}\n")
    shown = ask("pipelines", "apply", "-f", str(folder), "--dry-run")
    assert "shop takes the change between two transactions (reload)" in shown
    assert "  +   tables:" in shown
    assert ask.revision("shop") == 1, "nothing is applied"
    assert "shop: changed" in ask("pipelines", "apply", "-f", str(folder / "shop.yaml"))
    assert ask.revision("shop") == 2
    again = ask("pipelines", "get", "shop")
    assert "1 pipeline unchanged" in ask("pipelines", "apply", "-f", "-", answer=again)


def test_one_bad_file_and_nothing_is_applied(ask: Ask, folder: Path) -> None:
    (folder / "a.yaml").write_text("postgres: {slott: x}\n")
    (folder / "b.yaml").write_text("nats: [\n")
    (folder / "c.json").write_text('{"nats": {"user": "u", "password": "hunter2"}}')
    (folder / "d.toml").write_text('name = "shop"\n')
    (folder / "notes.txt").write_text("no configuration")
    shown = ask("pipelines", "apply", "-f", str(folder), code=2)
    assert "a.yaml: postgres.slott of pipeline a is not a known key: did you mean postgres.slot?" in shown
    assert "b.yaml:2:1 is not valid YAML" in shown
    assert shown.count("hint: ") == 3
    assert "nats.password has a secret written out" in shown
    assert "are both of a pipeline shop" in shown
    assert "nothing is applied" in shown
    assert "hunter2" not in shown
    assert not ask.node.store.revisions


def test_prune_deletes_what_has_no_file_and_asks(ask: Ask, folder: Path, tmp_path: Path) -> None:
    ask("pipelines", "apply", "-f", str(folder))
    (folder / "shop.yaml").rename(folder / "orders.yaml")
    shown = ask("pipelines", "apply", "-f", str(folder), "--prune", code=2)
    assert "nobody can be asked" in shown
    assert list(ask.node.store.revisions) == ["shop"], "nothing at all"
    shown = ask("pipelines", "apply", "-f", str(folder), "--prune", "--yes")
    assert "shop is deleted; its slot and what is stored stay" in shown
    stays = "the replication slot shop stays, if there is one: it is also that of pipeline orders"
    assert f"shop: deleted\n  {stays}" in shown
    assert "ditto slot drop" not in shown
    assert list(ask.node.store.revisions) == ["orders"]
    assert "goes with a directory" in ask("pipelines", "apply", "-f", str(folder / "orders.yaml"), "--prune", code=2)
    (tmp_path / "empty").mkdir()
    assert "has no configuration" in ask("pipelines", "apply", "-f", str(tmp_path / "empty"), "--prune", code=2)
    assert "there is no file" in ask("pipelines", "apply", "-f", str(tmp_path / "absent"), "--prune", code=2)


def test_what_would_lose_events_is_not_applied_unasked(ask: Ask, folder: Path) -> None:
    ask("pipelines", "apply", "-f", str(folder))
    (folder / "shop.yaml").write_text(FILE.replace("slot: shop", "slot: other"))
    shown = ask("pipelines", "apply", "-f", str(folder), code=2)
    assert shown.index("events between are missing (new slot)") < shown.index("let shop read a new slot or store")
    assert "hint: give --yes" in shown
    assert ask.revision("shop") == 1
    assert "shop: changed" in ask("pipelines", "apply", "-f", str(folder), "--yes")


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_it_asks(ask: Ask, folder: Path) -> None:
    assert "Nothing is applied." in ask("pipelines", "apply", "-f", str(folder), answer="n\n", code=1)
    assert not ask.node.store.revisions
    assert "shop: created" in ask("pipelines", "apply", "-f", str(folder), answer="y\n")
    assert "The pipeline stays." in ask("pipelines", "delete", "shop", answer="n\n", code=1)
    shown = ask("pipelines", "delete", "shop", "--drop-slot", answer="n\n", code=1)
    assert "The replication slot shop is dropped, if there is one" in shown
    shown = ask("pipelines", "delete", "shop", answer="y\n")
    assert "the replication slot shop, the publication ditto and stream SHOP, they stay" in shown
    assert "The pipeline shop is gone." in shown


def test_what_somebody_else_has_changed_meanwhile_is_left_alone(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("pipelines", "apply", "-f", str(folder))
    (folder / "shop.yaml").write_text(FILE + "delivery: {lease_ttl: 20s}\n")
    monkeypatch.setattr("ditto.cli.pipelines_apply._print", lambda _: ask("pipelines", "pause", "shop"))
    shown = ask("pipelines", "apply", "-f", str(folder), code=5)
    assert "shop: pipeline shop is at revision 2, changed by admin, and not at 1" in shown
    assert "0 changes applied, 1 not" in shown
    assert ask.revision("shop") == 2


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_pipeline_that_no_live_node_can_run_is_applied_with_a_warning(
    ask: Ask, folder: Path, arguments: tuple[str, ...]
) -> None:
    message = "no live node has the labels zone=b (placement.labels)"
    ask.node.view.obstacles["shop"] = Problem(message=message, hint="start a node with these labels", code=5)
    shown = ask("pipelines", "apply", "-f", str(folder), *arguments)
    assert f"warning: shop would run nowhere: {message}\n  hint: start a node with these labels" in shown
    assert (f"shop: created; it is unassigned: {message}" in shown) == (not arguments)
    if not arguments:
        ask("pipelines", "pause", "shop")
        shown = ask("pipelines", "resume", "shop")
        assert f"shop: goes on (revision 3); it is unassigned: {message}\n  hint: start a node with" in shown


def test_a_slot_that_two_pipelines_read_is_said_also_where_both_are_new(ask: Ask, folder: Path) -> None:
    (folder / "trades.yaml").write_text((folder / "shop.yaml").read_text())
    (folder / "orders.yaml").write_text("postgres: {dsn: postgres://127.0.0.1:9/orders, slot: orders}\n")
    shown = ask("pipelines", "apply", "-f", str(folder))
    assert "note: shop: postgres.slot: shop is also the slot of pipeline trades; only one pipeline reads" in shown
    assert "note: trades: postgres.slot: shop is also the slot of pipeline shop;" in shown
    assert "note: orders" not in shown
    assert ask("pipelines", "apply", "-f", str(folder)).count("is also the slot of") == 2


def test_files_in_subdirectories_are_read_where_that_is_wanted_and_counted_otherwise(ask: Ask, folder: Path) -> None:
    below = folder / "emea" / "north"
    below.mkdir(parents=True)
    (below / "orders.yaml").write_text(FILE.replace("shop", "orders"))
    (below / "notes.txt").write_text("no configuration")
    mounted = folder / "..2026_11_26"  # as Kubernetes mounts a ConfigMap: the files of the directory are links into it
    mounted.mkdir()
    (mounted / "shop.yaml").write_text(FILE)
    shown = ask("pipelines", "apply", "-f", str(folder))
    assert "1 file in subdirectories is not read: --recursive reads them" in shown
    assert list(ask.node.store.revisions) == ["shop"]
    shown = ask("pipelines", "apply", "-f", str(folder), "-R")
    assert "subdirectories" not in shown
    assert list(ask.node.store.revisions) == ["shop", "orders"]
    assert "2 pipelines unchanged" in ask("pipelines", "apply", "-f", str(folder), "--recursive", "--prune")
    (below / "shop.yml").write_text(FILE)
    assert "are both of a pipeline shop" in ask("pipelines", "apply", "-f", str(folder), "--recursive", code=2)
    (folder / "shop.yaml").unlink()
    shown = ask("pipelines", "apply", "-f", str(folder), code=2)
    assert "hint: 2 files in subdirectories are not read: --recursive reads them" in shown
