"""Every option of the program, taken in turn from the settings, so that a new one is never forgotten."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pulumi
from pydantic import BaseModel

from settings import Key, Settings, keys
from tests.infra.program import DIGEST_IMAGE, PROD, Config, Program, merged, run, stack_file


@dataclass(frozen=True)
class Option:
    """A configuration, and all that the program registers for it."""

    name: str
    config: Config
    program: Program

    @property
    def production(self) -> bool:
        return bool(self.config.get("production"))


def leaves(section: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, Key]]:
    """Give every key that takes a value, with the path to it."""
    for name, key in keys(section).items():
        if key.section:
            yield from leaves(key.section, f"{above}{name}.")
        else:
            yield f"{above}{name}", key


def read(config: Config) -> Settings:
    """Read a configuration as the engine passes it. Raises pulumi.RunError."""
    return Settings.read({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})


def others(path: str, key: Key) -> list[Any]:
    """Give the values that may bring other resources, or other fields of one."""
    annotation, default = key.info.annotation, key.info.default
    if annotation is bool:
        return [True, False]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if type(None) in get_args(annotation):
        return [7]
    if path.endswith(".number"):
        return [2]
    if path.endswith(".image"):
        return [DIGEST_IMAGE]
    # A host, the name of an object, or whatever else may be left out.
    return ["bank.example.org"] if annotation is str and default == "" else []


def nested(path: str, value: object) -> dict[str, Any]:
    """Give a configuration that sets one key."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def accepted(config: Config) -> bool:
    """Whether the settings go together."""
    try:
        read(config)
    except pulumi.RunError:
        return False
    return True


def beside(change: Config) -> Config:
    """Give a value for every other key of the section, where one alone may lack what it needs."""
    [section] = change
    found: Config = {}
    for path, key in leaves():
        if path.startswith(f"{section}."):
            for value in others(path, key):
                found = merged(found, nested(path, value))
    return found


def configurations() -> Iterator[tuple[str, str, Config]]:
    """Give a name, a stack and its configuration: each stack as it is, prod with one change, dev with all of them."""
    dev = stack_file("dev")
    yield "dev", "dev", dev
    yield "prod", "prod", PROD
    changes = [(nested(path, it), it != key.info.default) for path, key in leaves() for it in others(path, key)]
    for change, _ in changes:
        alone = merged(PROD, change)
        if not accepted(alone):
            alone = merged(merged(PROD, beside(change)), change)
        if accepted(alone) and read(alone) != read(PROD):
            yield f"prod {change}", "prod", alone
    everything = dev
    for change, differs in [*changes, *changes]:  # what needs another key finds it in the second round
        if differs and accepted(merged(everything, change)):
            everything = merged(everything, change)
    yield "dev with everything", "dev", everything


@cache
def options() -> list[Option]:
    """Run the program once for each of the configurations."""
    return [Option(name, config, run(config, stack, DIGEST_IMAGE)) for name, stack, config in configurations()]
