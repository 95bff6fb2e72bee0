"""Which image of the service is meant: named by what it contains, so that a rebuilt one rolls and no other does.

Only the standard library is used, so that whoever builds the image shares `image_tag`.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NEOBANK_IMAGE"
TAG_LENGTH = 20
"""Hexadecimal digits of SHA-256: 80 bits, beyond any chance of two builds sharing a tag."""

_NEVER_BUILT = ("**/__pycache__", "**/*.pyc", "**/*.egg-info", "**/dist")
_REFERENCE = re.compile(
    r"[a-z0-9][a-z0-9._:/-]*?(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@sha256:(?P<digest>[0-9a-f]{64}))?"
)


class ImageError(ValueError):
    """The image cannot be named; the message says why and what to do."""


def image_reference(environment: Mapping[str, str], repository: str, context: Path, containerfile: Path) -> str:
    """Give the image that the environment hands over, or else the repository with the tag of the build context.

    Raises ImageError for a reference that does not say what it contains, and where there is nothing to build from.
    """
    given = environment.get(VARIABLE, "")
    if not given:
        return f"{repository}:{image_tag(context, containerfile)}"
    parts = _REFERENCE.fullmatch(given)
    if parts is None or not (parts["digest"] or parts["tag"]) or (parts["tag"] == "latest" and not parts["digest"]):
        raise ImageError(f"{VARIABLE} is {given!r}: it takes an image with a digest, or with a tag other than latest.")
    return given


def image_tag(context: Path, containerfile: Path) -> str:
    """Hash what a container build sees: the Containerfile, and each file's path, executable bit and contents.

    Times, owners and whatever .containerignore leaves out change nothing. Raises ImageError where a file is missing.
    """
    if not containerfile.is_file() or not context.is_dir():
        raise ImageError(f"There is no {containerfile} or no {context} to name the image by: set {VARIABLE}.")
    digest = hashlib.sha256(_framed("Containerfile", b"-", containerfile.read_bytes()))
    for path in sorted(_built_files(context)):
        file = context / path
        if file.is_symlink():
            digest.update(_framed(path, b"l", str(file.readlink()).encode()))
        else:
            digest.update(_framed(path, b"x" if file.stat().st_mode & 0o100 else b"-", file.read_bytes()))
    return digest.hexdigest()[:TAG_LENGTH]


def _framed(path: str, kind: bytes, contents: bytes) -> bytes:
    """Give each part with its length, so that no two files read like one."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (path.encode(), kind, contents))


def _built_files(context: Path) -> Iterator[str]:
    rules = _ignore_rules(context)
    for file in context.rglob("*"):
        path = file.relative_to(context).as_posix()
        if (file.is_symlink() or file.is_file()) and not _ignored(path, rules):
            yield path


@dataclass(frozen=True)
class _Rule:
    """One line of .containerignore; the last one that matches a path decides."""

    pattern: re.Pattern[str]
    keeps: bool


def _ignore_rules(context: Path) -> list[_Rule]:
    file = context / ".containerignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    written = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    rules = [_Rule(_expression(line.removeprefix("!")), line.startswith("!")) for line in written]
    return [*rules, *(_Rule(_expression(pattern), keeps=False) for pattern in _NEVER_BUILT)]


def _ignored(path: str, rules: list[_Rule]) -> bool:
    verdicts = [not rule.keeps for rule in rules if rule.pattern.fullmatch(path)]
    return bool(verdicts) and verdicts[-1]


def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern (`*`, `?`, `**`, outer slashes) so that it matches the path and all below it."""
    translated = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|.", pattern.strip("/")):
        translated += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return re.compile(f"{translated}(?:/.*)?")
