"""Settings that are given under a former path of their key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ditto.config.conversion import Setting, convert
from ditto.config.keys import FORMER, KEYS, SECTIONS
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_current_paths(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings of one layer, each under the current path of its key.

    A section that holds nothing but former keys of other sections is left out.
    Raises ConfigError where a former and a current path of one key have different values.
    """
    result = {
        path: setting for path, setting in settings.items() if path not in FORMER and not _has_moved(path, setting)
    }
    for path, setting in settings.items():
        if path not in FORMER:
            continue
        current = FORMER[path]
        former = msgspec.structs.replace(setting, path=path)
        if current in result and convert(KEYS[current], result[current]) != convert(KEYS[current], former):
            raise ConfigError(
                f"{current} {result[current].origin} and {path} {setting.origin} have different values",
                hint=f"{path} is the former name of {current}: give one of them",
                key=current,
            )
        result.setdefault(current, former)
    return result


def _has_moved(path: str, setting: Setting) -> bool:
    """Whether that is a section all of whose keys have moved to others."""
    content = setting.value
    return path in SECTIONS and bool(content) and all(f"{path}.{name}" in FORMER for name in content)
