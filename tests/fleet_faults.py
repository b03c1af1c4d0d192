"""More faults of a fleet under load, for `fleet_proof`: a long freeze, strange entries, lost buckets, a control plane
that is slow or takes no writes, hundreds of changes at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import nats
import yaml

from ditto.fleet.buckets import HISTORY
from ditto.fleet.records import NodeEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.ledger import Ledger
    from fleet_proof import Proof
    from nats.js.client import JetStreamContext

NODES: Final = ("n1", "n2", "n3")
FROZEN_S: Final = 60.0
SLOW_S: Final = 2.0
"""One way: an answer comes after twice as long."""
DOCUMENTS: Final = 200
ALL: Final = 'permissions: { publish: { allow: [">"] } }'
READ_ONLY: Final = 'permissions: { publish: { deny: ["$KV.>"] } }'
PERMITTED: Final = f"""
authorization {{ users: [{{ user: anonymous, password: "none", {ALL} }}] }}
no_auth_user: anonymous
"""
"""The configuration of the control plane, in which nobody has to log in."""


async def frozen_for_long(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """Longer than every time-out: its connections have ended, and its leases are others'."""
    node, names, at = proof.fleet.nodes["n1"], proof.homes("n1"), time.time()
    node.freeze()
    await proof.away("a node is frozen for 60 s", names, at, of="n1")
    await asyncio.sleep(max(0.0, FROZEN_S - (time.time() - at)))
    node.thaw()
    await proof.fleet.live(*NODES)
    await proof.all_stream("n1 was frozen for 60 s")
    return "n1 was frozen for 60 s"


async def strange_nodes(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """Entries that cannot be read, one that is years old, and a node that only its entry says to be there."""
    ghost = NodeEntry(name="ghost", instance="nobody", api_url="http://127.0.0.1:9", max_pipelines=1000, silent_s=1e9)
    homes = {name: proof.fleet.pipeline(name).node for name in proof.worlds}
    async with buckets(proof) as js:
        store = await js.key_value("ditto_nodes")
        for number, value in enumerate(
            (b"", b"garbage", b"[]", b'{"name": 1}', b'{"name": "another", "instance": ""}')
        ):
            await store.put(f"x{number}", value)
        for beat in range(10):
            await store.put("ghost", msgspec.json.encode(msgspec.structs.replace(ghost, beat=beat)))
            await asyncio.sleep(1)
        moved = {name for name, home in homes.items() if proof.fleet.pipeline(name).node != home}
        assert not moved, f"{moved} moved for a node that has looked at no document"
        await proof.fleet.until(
            lambda: {each.name for each in proof.fleet.view.nodes() if each.state == "live"} == set(NODES),
            "the ghost counts as dead",
            timeout_s=60,
        )
        for key in ("ghost", *(f"x{number}" for number in range(5))):
            await store.delete(key)
    await proof.all_stream("strange entries of nodes")
    return "there were strange entries of nodes, and no pipeline moved"


async def read_only(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """Its permissions are taken: nothing can be written, all can be read."""
    path = proof.control_plane.folder / "nats.conf"
    before = path.read_text()
    counts = {name: len(node.logs("node.live")) for name, node in proof.fleet.nodes.items()}
    cuts = {name: len(node.logs("node.cut_off")) for name, node in proof.fleet.nodes.items()}
    path.write_text(before.replace(ALL, READ_ONLY))
    proof.control_plane.reload()
    for name, node in proof.fleet.nodes.items():
        await node.logged("node.cut_off", timeout_s=60, count=cuts[name] + 1)
    await proof.going_on(ledgers, list(ledgers))
    assert all(len(node.logs("node.live")) == counts[name] for name, node in proof.fleet.nodes.items())
    path.write_text(before)
    proof.control_plane.reload()
    await proof.fleet.live(*NODES)
    await proof.all_stream("the control plane took no writes")
    return "the control plane took no writes, and all events arrived"


async def slow(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """One node hears of everything 2 s later, and is heard 2 s later."""
    proof.control["n2"].late_s = SLOW_S
    await asyncio.sleep(25)  # its pipelines may move once, and back, when that begins
    taken = proof.count("pipeline.taken")
    for _ in range(25):
        await asyncio.sleep(1)
        assert proof.fleet.node("n2").state == "live"
    await proof.going_on(ledgers, list(ledgers)[:3])
    moved = proof.count("pipeline.taken") - taken
    proof.control["n2"].late_s = 0.0
    await proof.fleet.live(*NODES)
    await proof.all_stream("n2 had a slow control plane")
    assert not moved, f"{moved} pipelines moved after the beginning"
    return "n2 had a slow control plane for 50 s, and no pipeline moved after the beginning"


async def slow_events(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """The same between a node and the NATS that stores its events."""
    names = proof.homes("n2")
    taken, failed = proof.count("pipeline.taken"), proof.count("session.failed")
    proof.to_events["n2"].late_s = SLOW_S
    await asyncio.sleep(50)
    await proof.going_on(ledgers, names)
    taken, failed = proof.count("pipeline.taken") - taken, proof.count("session.failed") - failed
    proof.to_events["n2"].late_s = 0.0
    await proof.all_stream("n2 had a slow NATS for its events")
    return f"n2 had a slow NATS for its events: {taken} of {len(names)} pipelines moved, {failed} sessions failed"


async def many_changes_and_a_node(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """Two hundred documents, which no node can run, while a node joins."""
    folder = proof.folder / "documents"
    folder.mkdir()
    for number in range(DOCUMENTS):
        document = {**proof.document("f0"), "placement": {"labels": {"zone": "nowhere"}}}
        (folder / f"more{number}.yaml").write_text(yaml.safe_dump(document))
    fleet = proof.fleet
    began_at = time.monotonic()
    applying = asyncio.create_task(asyncio.to_thread(apply, proof, str(folder)))
    proof.start("n4")
    await fleet.live(*NODES, "n4")
    ended = await applying
    took_s = time.monotonic() - began_at
    assert ended.returncode == 0, ended.stdout
    await proof.all_stream("a node has joined")
    assert sum(name.startswith("more") for name in fleet.view.records.values) == DOCUMENTS
    names, at = proof.homes("n4"), time.time()
    fleet.nodes["n4"].kill_node()
    await proof.away("kill -9 of a node", names, at, of="n4")
    del fleet.nodes["n4"]
    for number in range(DOCUMENTS):
        stored = await fleet.store.get(f"more{number}")
        assert stored is not None
        await fleet.store.delete(stored.name, after=stored.revision)
    await fleet.live(*NODES)
    await proof.all_stream("the node that joined was killed")
    return f"{DOCUMENTS} documents were applied in {took_s:.1f} s while a node joined, which had {len(names)} pipelines"


def apply(proof: Proof, folder: str) -> subprocess.CompletedProcess[str]:
    listening = proof.fleet.nodes["n1"].logs("http.listening")[0]
    return subprocess.run(
        [sys.executable, "-m", "ditto", "pipelines", "apply", "-f", folder],
        env={**os.environ, "DITTO_SERVER": f"http://127.0.0.1:{listening['port']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


async def all_buckets_lost(proof: Proof, ledgers: dict[str, Ledger]) -> str:
    """All at once. Then as the hint says: one node again, all documents; the other nodes are live by themselves."""
    fleet = proof.fleet
    counts = {name: len(node.logs("node.live")) for name, node in fleet.nodes.items()}
    cuts = {name: len(node.logs("node.cut_off")) for name, node in fleet.nodes.items()}
    async with buckets(proof) as js:
        for bucket in HISTORY:
            await js.delete_key_value(bucket)
        for name, node in fleet.nodes.items():
            said = await node.logged("node.cut_off", timeout_s=60, count=cuts[name] + 1)
            print(json.dumps({"node": name, "reason": said["reason"]}))
        await proof.going_on(ledgers, list(ledgers))
    await proof.again("n1")
    await fleet.until(lambda: fleet.view.is_current, "there are buckets again", timeout_s=60)
    for name in proof.worlds:
        await fleet.apply(name, proof.document(name))
    for name in ("n2", "n3"):
        await fleet.nodes[name].logged("node.live", timeout_s=60, count=counts[name] + 1)
    await fleet.live(*NODES)
    await proof.all_stream("all buckets were deleted")
    return "all buckets were deleted at once, and made again as the hint says"


@asynccontextmanager
async def buckets(proof: Proof) -> AsyncIterator[JetStreamContext]:
    client: Any = await nats.connect(proof.control_plane.url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


CASES: Final = {
    each.__name__: each
    for each in (
        frozen_for_long,
        strange_nodes,
        slow,
        slow_events,
        read_only,
        many_changes_and_a_node,
        all_buckets_lost,
    )
}
