"""A receiver of Ditto's webhooks: it verifies the signature, and lets each event take effect once.

Usage: WEBHOOK_SECRET=whsec_… python receiver.py PORT DATABASE
DATABASE is a file of SQLite. An event's id and its effect are stored in one transaction, before the answer.
"""

from __future__ import annotations

import hmac
import json
import os
import sqlite3
import sys
import time
from base64 import b64decode, b64encode
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_S = 300


def is_genuine(headers: Any, body: bytes) -> bool:
    """Whether somebody who has the secret sent that, a moment ago (Standard Webhooks)."""
    identifier, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    digest = hmac.new(KEY, f"{identifier}.{timestamp}.".encode() + body, "sha256").digest()
    wanted = f"v1,{b64encode(digest).decode()}"
    return any(hmac.compare_digest(wanted, each) for each in headers.get("webhook-signature", "").split(" "))


def take(database: sqlite3.Connection, events: list[dict[str, Any]]) -> None:
    """Let the events take effect, those that did before left out."""
    with database:  # one transaction
        for event in events:
            if "id" not in event:
                continue  # the description of a table (events.schemas)
            is_new = database.execute("INSERT OR IGNORE INTO seen VALUES (?)", [event["id"]]).rowcount
            if is_new and "action" in event:
                row = event["data"] or event["dataOld"]
                values = [event["table"], event["action"], json.dumps(row)]
                database.execute("INSERT INTO effects VALUES (?, ?, ?)", values)


class Handler(BaseHTTPRequestHandler):
    """Answers 200 only when everything is stored. Where it does not answer, the same batch comes again."""

    protocol_version = "HTTP/1.1"
    file: str

    def do_POST(self) -> None:
        """Take a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if is_genuine(self.headers, body):
            with closing(sqlite3.connect(self.file)) as database:
                take(database, json.loads(body))
            self.send_response(200)
        else:
            self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Receive until killed."""
    Handler.file = sys.argv[2]
    with closing(sqlite3.connect(Handler.file)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
        database.execute("CREATE TABLE IF NOT EXISTS effects (tab TEXT, action TEXT, data TEXT)")
    # A thread for each connection: one whose client is gone without closing it keeps nobody waiting.
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
