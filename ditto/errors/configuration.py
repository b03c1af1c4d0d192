"""Errors of the configuration, and of its rules."""

from __future__ import annotations

from ditto.errors.base import DittoError


class ConfigError(DittoError):
    """The configuration, or an option of a command, cannot be used.

    The message names the key and the nearest known one. `ditto config show` tells what results;
    [configuration](configuration.md) lists all keys.
    """

    exit_code = 2
    is_retryable_later = True  # a file that it names is being replaced


class MissingHere(ConfigError):
    """The configuration refers to something that this machine does not have: a variable, a file, an optional package.

    Give the machine what the message names. A fleet runs the pipeline on a node that has it.
    """

    is_local = True


class RuleUnfit(ConfigError):
    """A rule in `events.tables` does not fit its table: it names a column that is not there, or not in every change.

    The message names the key and the nearest column. Correct the rule, or the table; `ditto check` finds all of them.
    """

    is_retryable_later = False

    def __init__(
        self, message: str, *, hint: str | None = None, statement: str | None = None, **context: str | int
    ) -> None:
        super().__init__(message, hint=hint, **context)
        self.statement = statement
        """For psql: what would correct the table."""


class RuleError(ConfigError):
    """A rule of `events` cannot be worked out for a change: a condition, a template, the key.

    Change the rule, or set `on_error` of the table to `keep` or `drop`. Where the message says that a value was not
    sent, `ALTER TABLE … REPLICA IDENTITY FULL` lets PostgreSQL send it with later changes. PostgreSQL keeps the change,
    and Ditto goes on with it.
    """

    is_retryable_later = False
