"""Subjects and the patterns that cover them: https://docs.nats.io/nats-concepts/subjects."""

from __future__ import annotations

from collections.abc import Collection


def folded(subjects: Collection[str], wildcard: str | None) -> set[str]:
    """The subjects, with the wildcard in place of those that it covers; none that another one of them covers."""
    found = set(subjects)
    if wildcard is not None and any(subject_matches(wildcard, subject) for subject in found):
        found.add(wildcard)
    patterns = [subject for subject in found if is_pattern(subject)]
    return {
        subject
        for subject in found
        if not any(pattern != subject and subject_matches(pattern, subject) for pattern in patterns)
    }


def is_pattern(subject: str) -> bool:
    """Whether it covers more than one subject."""
    return any(token in {"*", ">"} for token in subject.split("."))


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern; of a subject that is a pattern itself, everything that it covers."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":  # noqa: S105  a token of a subject
            return len(given) > index
        if index >= len(given) or given[index] == ">" or token not in {"*", given[index]}:
            return False
    return len(wanted) == len(given)
