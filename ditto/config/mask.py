"""The configuration without its secrets, as it may be printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ditto.config import webhook
from ditto.config.dsn import SECRETS, mask_dsn, parameters_of
from ditto.config.keys import KEYS
from ditto.config.model import SINKS
from ditto.log import MASK, mask_secrets

if TYPE_CHECKING:
    from ditto.config.model import Config


def masked(config: Config) -> dict[str, Any]:
    """The configuration by section and key, names as in the file, with *** in place of every secret.

    Of the sinks only the one that is used: as a file, the result can be loaded again.
    """
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for sink in SINKS:
        if sink != config.sink:
            del shown[sink]
    for path, key in KEYS.items():
        *sections, name = path.split(".")
        if key.mask is None or shown.get(sections[0]) is None:
            continue
        node = shown
        for each in sections:
            node = node[each]
        if key.mask == "whole":
            node[name] = None if node[name] is None else MASK
        elif key.mask == "dsn":
            node[name] = mask_dsn(node[name])
        elif key.mask == "address":
            node[name] = webhook.shown(node[name])
        elif key.mask == "values":
            node[name] = dict.fromkeys(node[name], MASK)
        elif isinstance(node[name], str):
            node[name] = mask_url(node[name])
        else:
            node[name] = [mask_url(each) for each in node[name]]
    for entry in (shown["events"]["tables"] or {}).values():
        for mask in entry.get("columns", {}).get("mask", {}).values() if isinstance(entry, dict) else ():
            if "key" in mask:
                mask["key"] = MASK
    return shown


def secrets(config: Config) -> set[str]:
    """Every secret in the configuration, by itself, as it is written and as it is meant."""
    parameters = parameters_of(config.postgres.dsn)
    nats = config.nats
    found = {str(parameters.get(name) or "") for name in SECRETS} | {
        each or "" for each in (nats.password, nats.token, nats.nkey_seed)
    }
    if config.kafka is not None:
        found.add(config.kafka.password or "")
    redis = config.redis
    if redis is not None:
        found.add(redis.password or "")
    rabbitmq = config.rabbitmq
    if rabbitmq is not None:
        found.add(rabbitmq.password or "")
    others = [] if redis is None else [redis.url]
    for server in (*nats.servers, *others, *([] if rabbitmq is None else rabbitmq.servers)):
        identity = server.rpartition("@")[0].rpartition("://")[2]
        user, has_password, password = identity.partition(":")
        found.add(password if has_password else user)
    if (hook := config.webhook) is not None:
        found |= {
            *hook.secrets,
            hook.token or "",
            hook.password or "",
            *hook.headers.values(),
            urlsplit(hook.url).query,
        }
    for rules in config.events.rules.values():
        masks = {} if rules.columns is None else rules.columns.mask
        found |= {mask.key or "" for mask in masks.values()}
    return {form for secret in found if secret for form in (secret, unquote(secret), quote(secret, safe=""))}


def mask_url(url: str) -> str:
    """`url` with *** in place of its password, or of the token that is alone before the @."""
    return mask_secrets(url) if "://" in url else mask_secrets(f"nats://{url}").removeprefix("nats://")
