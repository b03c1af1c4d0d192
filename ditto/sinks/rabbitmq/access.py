"""As whom Ditto works, in which virtual host, and what a missing right is called."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ditto.config import RabbitMQ
from ditto.errors import SinkDenied
from ditto.hints import rabbitmq_permissions, shell
from ditto.sinks.rabbitmq.server import address_of, login_of

Right = Literal["configure", "write", "read"]
"""RabbitMQ's own words: to create, to publish, to read back."""


class Access(NamedTuple):
    """Of one connection."""

    user: str
    vhost: str
    names: tuple[str, ...]
    """What Ditto needs: both streams, or the exchange."""
    needs_read: bool
    """Nothing is read back of an exchange."""
    reads_only: bool = False
    """For a command that looks at what is stored."""

    @property
    def command(self) -> str:
        """Gives the user what Ditto needs."""
        return rabbitmq_permissions(
            self.user, self.vhost, self.names, can_read=self.needs_read, can_write=not self.reads_only
        )

    def denied(self, begin: str, right: Right, resource: str, **context: str) -> SinkDenied:
        """The error for a right that is missing; `resource` is `stream shop`."""
        gives = "lets the user read" if self.reads_only else "gives the user"
        return SinkDenied(
            f"{begin}: user {self.user} has no permission to {right} {resource} in virtual host {self.vhost}",
            hint=f"this {gives} all that Ditto needs, and takes away what else the user may do there",
            command=self.command,
            **context,
        )

    def shut_out(self, where: str) -> SinkDenied:
        """The error where the server does not open the virtual host."""
        create = shell("rabbitmqctl", "add_vhost", self.vhost)
        return SinkDenied(
            f"{where}: the virtual host {self.vhost} does not exist, or user {self.user} has no permissions in it",
            hint="see the path of rabbitmq.url. The first command creates the virtual host, and fails where there is "
            "one; the second lets the user in",
            command=f"{create}\n{self.command}",
        )


def access_of(config: RabbitMQ, url: str, *, reads_only: bool = False) -> Access:
    """To the node that one address of the configuration names."""
    user, vhost = login_of(config, url).user, address_of(config, url).vhost
    if config.has_exchange:
        return Access(user, vhost, (config.exchange.name,), needs_read=False)
    return Access(user, vhost, (config.stream.name, config.stream.own), needs_read=True, reads_only=reads_only)
