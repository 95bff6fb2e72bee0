"""Measuring in turns, since the machine is shared, and the table that comes of it."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import cpu_count
from statistics import median
from typing import Final

WIDTH: Final = 52


@dataclass(frozen=True, slots=True)
class Goal:
    """What a subject is compared with, and the ratios that it should reach and aims at."""

    base: str
    reach: float | None = None
    aim: float | None = None

    @property
    def wanted(self) -> str:
        """Say the goal."""
        reach = f", to reach {self.reach:g}" if self.reach else ""
        return reach + (f", aim {self.aim:g}" if self.aim else "")


@dataclass(frozen=True, slots=True)
class Measured:
    """Rates per second: one list a subject, one figure a round."""

    rates: Mapping[str, list[float]]

    def rate(self, name: str) -> float:
        """Give a subject's median rate."""
        return median(self.rates[name])

    def ratio(self, name: str, base: str) -> float:
        """Give the median of what a subject made in each round of what another made in the same."""
        return median(mine / theirs for mine, theirs in zip(self.rates[name], self.rates[base], strict=True))


def alternate(subjects: Mapping[str, Callable[[], float]], rounds: int) -> Measured:
    """Measure each subject once a round, one after the other, so that a busy minute falls on all of them.

    A first round warms caches, connections and processes up, and is forgotten.
    """
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(1 + rounds):
        for name, subject in subjects.items():
            rates[name].append(subject())
    return Measured({name: found[1:] for name, found in rates.items()})


def header(*, clients: int, workers: int, rounds: int, seconds: float, load: float, settings_on: Sequence[str]) -> None:
    """Say where and how this was measured."""
    print(
        f"{cpu_count()} cores with a load of {load:.1f} from others and this, Python {platform.python_version()}; "
        f"PostgreSQL with {', '.join(settings_on)} on;\n"
        f"{clients} clients, {workers} workers; medians of {rounds} rounds of {seconds:g} s.\n\n"
        f"{'':{WIDTH}}{'per second':>12}{'ratio':>8}",
        flush=True,
    )


def line(measured: Measured, name: str, goal: Goal | None = None) -> None:
    """Print a subject's rate, and its ratio to the base of its goal."""
    told = "" if goal is None else f"{measured.ratio(name, goal.base):8.2f} of {goal.base}{goal.wanted}"
    print(f"{name:{WIDTH}}{measured.rate(name):12.0f}{told}", flush=True)


def note(name: str, value: str) -> None:
    """Print a figure that is no rate."""
    print(f"{name:{WIDTH}}{value:>12}", flush=True)
