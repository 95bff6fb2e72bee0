"""Every option of the program, derived from the settings, so that the tests include each new one."""

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
    """A configuration and all that the program registers for it."""

    name: str
    config: Config
    program: Program

    @property
    def production(self) -> bool:
        return bool(self.config.get("production"))


def leaves(section: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, Key]]:
    """Yield every key that takes a value, with its path."""
    for name, key in keys(section).items():
        if key.section:
            yield from leaves(key.section, f"{above}{name}.")
        else:
            yield f"{above}{name}", key


def read(config: Config) -> Settings:
    """Read a configuration as the engine passes it. Raise pulumi.RunError if it is invalid."""
    return Settings.read({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})


def others(path: str, key: Key) -> list[Any]:
    """Return the values of a key that may change which resources there are, or a field of one."""
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
    # A host, the name of an object, or another optional text.
    return ["bank.example.org"] if annotation is str and default == "" else []


def nested(path: str, value: object) -> dict[str, Any]:
    """Return a configuration that sets one key."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def accepted(config: Config) -> bool:
    """Return whether the configuration is valid."""
    try:
        read(config)
    except pulumi.RunError:
        return False
    return True


def whole_section(change: Config) -> Config:
    """Return values for all keys of the changed section, because one key alone may need another."""
    [section] = change
    values: Config = {}
    for path, key in leaves():
        if path.startswith(f"{section}."):
            for value in others(path, key):
                values = merged(values, nested(path, value))
    return values


def configurations() -> Iterator[tuple[str, str, Config]]:
    """Yield name, stack and configuration: each stack as it is, prod with each change, dev with all changes."""
    dev = stack_file("dev")
    yield "dev", "dev", dev
    yield "prod", "prod", PROD
    changes = [(nested(path, it), it != key.info.default) for path, key in leaves() for it in others(path, key)]
    for change, _ in changes:
        alone = merged(PROD, change)
        if not accepted(alone):
            alone = merged(merged(PROD, whole_section(change)), change)
        if accepted(alone) and read(alone) != read(PROD):
            yield f"prod {change}", "prod", alone
    everything = dev
    for change, differs in [*changes, *changes]:  # a key that needs another key is accepted in the second round
        if differs and accepted(merged(everything, change)):
            everything = merged(everything, change)
    yield "dev with everything", "dev", everything


@cache
def options() -> list[Option]:
    """Run the program once for each of the configurations."""
    return [Option(name, config, run(config, stack, DIGEST_IMAGE)) for name, stack, config in configurations()]
