"""Errors of PostgreSQL, and of what it sends."""

from __future__ import annotations

from ditto.errors.base import DittoError


class SourceError(DittoError):
    exit_code = 3


class ConnectionLost(SourceError):
    """The connection to PostgreSQL ended, or was never made.

    Nothing, if it comes back. Otherwise look at address, network, TLS and the server's log; under load also at
    `wal_sender_timeout`.
    """

    is_retryable = True


class ServerNotReady(SourceError):
    """PostgreSQL is starting up, shutting down, or out of connections.

    Wait; where it lasts, raise `max_connections` or `max_wal_senders`.
    """

    is_retryable = True


class TableLocked(SourceError):
    """A question could not be answered, because somebody holds a lock on a table.

    Wait for that transaction, or end it: `SELECT * FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'`.
    """

    is_retryable = True


class SlotInUse(SourceError):
    """Another reader holds the slot.

    Nothing, where that is another Ditto: this one stands by. Otherwise end it, or use another `postgres.slot`.
    """

    is_retryable = True


class AccessDenied(SourceError):
    """PostgreSQL refuses the password, the role, the database or a privilege.

    The role needs LOGIN and REPLICATION, a line in `pg_hba.conf` for the database itself, and to own the tables if
    it is to create the publication. See [operations](operations.md#what-it-needs).
    """

    is_retryable_later = True


class ServerUnsuitable(SourceError):
    """The server cannot serve logical replication: `wal_level`, its version, no slot or walsender left.

    Set what the message names, and restart the server.
    """


class IdentityMissing(SourceError):
    """The publication would break the application's UPDATE and DELETE, on tables without a replica identity.

    `ALTER TABLE … REPLICA IDENTITY FULL`, or a primary key, for each table that it names; or create the publication
    yourself.
    """


class PublicationMissing(SourceError):
    """The publication does not exist, and `postgres.create` is false.

    Create it, before the slot: `CREATE PUBLICATION ditto FOR TABLE …`.
    """


class TableNotPublished(SourceError):
    """The publication does not send something that `events.tables` names: a table, the name of a partition, an action.

    Add it, as the table's owner: `ALTER PUBLICATION ditto ADD TABLE …`, start again, and then reload the consumers of
    that table; or take it out of `events.tables`. See
    [operations](operations.md#when-publication-and-configuration-disagree).
    """


class SlotMissing(SourceError):
    """The slot does not exist, and `postgres.create` is false.

    Create it, or let Ditto create it.
    """


class SlotUnusable(SourceError):
    """The slot is not one for pgoutput of this database without two-phase commit.

    Name another one in `postgres.slot`, or drop it: `ditto slot drop`.
    """


class SlotInvalidated(SourceError):
    """PostgreSQL has removed WAL that the slot still needed.

    Drop it with `ditto slot drop`, start once with `delivery.on_gap: continue`, and then, not before, reload consumers
    from the tables: see [When it stops with a gap](operations.md#when-it-stops-with-a-gap). A larger
    `max_slot_wal_keep_size` avoids it.
    """


class SourceRewound(SourceError):
    """The stream is ahead of the server: it was restored from a backup, or another one was promoted.

    Restore the stream to the same time; or give Ditto a new `postgres.slot`, `nats.stream` and `events.prefix`, and
    then reload consumers from the tables.
    """


class DecodeError(SourceError):
    """PostgreSQL sent bytes that are not the pgoutput that was asked for.

    Please report it, with the message and the server's version.
    """


class DecodingFailed(SourceError):
    """PostgreSQL's logical decoding fails at something in its own WAL: a bug of the server's.

    Start Ditto again: the slot holds the changes. Where that does not help, install the latest minor release; and last
    of all drop the slot with `ditto slot drop`, and go on as after a [gap](operations.md#when-it-stops-with-a-gap).
    """


class SnapshotRefused(SourceError):
    """A snapshot of one table cannot be read, or its request cannot be understood. The other tables and the live stream
    go on.

    The message names the table and the reason: a missing right, row-level security, a table that is not published, a
    wrong `where`. Correct that, and ask for a snapshot of the table again.
    """


class ServerFault(SourceError):
    """PostgreSQL answered with an error that Ditto knows nothing of.

    The message has the server's words, unless they may quote a row, and its log more.
    """

    is_retryable_later = True
