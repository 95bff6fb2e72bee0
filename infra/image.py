"""The name of the service's image. Its tag is a hash of its contents, so that only a changed image causes a rollout.

This module uses only the standard library, so that the image build can use `image_tag` too.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NEOBANK_IMAGE"
TAG_LENGTH = 20
"""Hexadecimal digits of SHA-256: 80 bits, enough to exclude two builds with the same tag."""

_NEVER_BUILT = ("**/__pycache__", "**/*.pyc", "**/*.egg-info", "**/dist")
_REFERENCE = re.compile(
    r"[a-z0-9][a-z0-9._:/-]*?(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@sha256:(?P<digest>[0-9a-f]{64}))?"
)


class ImageError(ValueError):
    """The image cannot be named; the message contains the reason and the remedy."""


def image_reference(environment: Mapping[str, str], repository: str, context: Path, containerfile: Path) -> str:
    """Return the image that the environment names, or else the repository with the tag of the build context.

    Raise ImageError if the named image has neither a digest nor a tag other than latest, or if a build file is missing.
    """
    reference = environment.get(VARIABLE, "")
    if not reference:
        return f"{repository}:{image_tag(context, containerfile)}"
    parts = _REFERENCE.fullmatch(reference)
    if parts is None or not (parts["digest"] or parts["tag"]) or (parts["tag"] == "latest" and not parts["digest"]):
        raise ImageError(
            f"{VARIABLE} is {reference!r}: it takes an image with a digest, or with a tag other than latest."
        )
    return reference


def image_tag(context: Path, containerfile: Path) -> str:
    """Hash the inputs of a container build: the Containerfile, and each file's path, executable bit and contents.

    Times, owners and files that .containerignore excludes do not matter. Raise ImageError if the Containerfile or the
    context is missing.
    """
    if not containerfile.is_file() or not context.is_dir():
        raise ImageError(f"{containerfile} or {context} is missing, so the image has no tag: set {VARIABLE}.")
    digest = hashlib.sha256(_framed("Containerfile", b"-", containerfile.read_bytes()))
    for path in sorted(_built_files(context)):
        file = context / path
        if file.is_symlink():
            digest.update(_framed(path, b"l", str(file.readlink()).encode()))
        else:
            digest.update(_framed(path, b"x" if file.stat().st_mode & 0o100 else b"-", file.read_bytes()))
    return digest.hexdigest()[:TAG_LENGTH]


def _framed(path: str, kind: bytes, contents: bytes) -> bytes:
    """Prefix each part with its length, so that different files never produce the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (path.encode(), kind, contents))


def _built_files(context: Path) -> Iterator[str]:
    rules = _ignore_rules(context)
    for file in context.rglob("*"):
        path = file.relative_to(context).as_posix()
        if (file.is_symlink() or file.is_file()) and not _ignored(path, rules):
            yield path


@dataclass(frozen=True)
class _Rule:
    """One line of .containerignore; the last matching line decides."""

    pattern: re.Pattern[str]
    keeps: bool


def _ignore_rules(context: Path) -> list[_Rule]:
    file = context / ".containerignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    rules = [_Rule(_expression(line.removeprefix("!")), line.startswith("!")) for line in patterns]
    return [*rules, *(_Rule(_expression(pattern), keeps=False) for pattern in _NEVER_BUILT)]


def _ignored(path: str, rules: list[_Rule]) -> bool:
    verdicts = [not rule.keeps for rule in rules if rule.pattern.fullmatch(path)]
    return bool(verdicts) and verdicts[-1]


def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern (`*`, `?`, `**`, outer slashes) into an expression that matches the path and all below it."""
    translated = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|.", pattern.strip("/")):
        translated += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return re.compile(f"{translated}(?:/.*)?")
