"""Measurements in turns, because the machine is shared, and the table of their results."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import cpu_count
from statistics import median
from typing import Final

WIDTH: Final = 52


@dataclass(frozen=True, slots=True)
class Goal:
    """The base with which a subject is compared, the ratio it should reach, and the ratio it aims at."""

    base: str
    reach: float | None = None
    aim: float | None = None

    @property
    def wanted(self) -> str:
        """The goal, as text for the table."""
        reach = f", to reach {self.reach:g}" if self.reach else ""
        return reach + (f", aim {self.aim:g}" if self.aim else "")


@dataclass(frozen=True, slots=True)
class Measured:
    """Rates per second: one list per subject, with one figure per round."""

    rates: Mapping[str, list[float]]

    def rate(self, name: str) -> float:
        """Return a subject's median rate."""
        return median(self.rates[name])

    def ratio(self, name: str, base: str) -> float:
        """Return the median of a subject's rate divided by that of the base in the same round."""
        return median(rate / base_rate for rate, base_rate in zip(self.rates[name], self.rates[base], strict=True))


def alternate(subjects: Mapping[str, Callable[[], float]], rounds: int) -> Measured:
    """Measure each subject once per round, one after the other, so that a busy minute affects all of them.

    The first round warms up caches, connections and processes; its figures are dropped.
    """
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(1 + rounds):
        for name, subject in subjects.items():
            rates[name].append(subject())
    return Measured({name: all_rates[1:] for name, all_rates in rates.items()})


def header(*, clients: int, workers: int, rounds: int, seconds: float, load: float, settings_on: Sequence[str]) -> None:
    """Print the conditions of the measurement."""
    print(
        f"{cpu_count()} cores, load average {load:.1f}, Python {platform.python_version()}; "
        f"PostgreSQL with {', '.join(settings_on)} on;\n"
        f"{clients} clients, {workers} workers; medians of {rounds} rounds of {seconds:g} s.\n\n"
        f"{'':{WIDTH}}{'per second':>12}{'ratio':>8}",
        flush=True,
    )


def line(measured: Measured, name: str, goal: Goal | None = None) -> None:
    """Print a subject's rate, and its ratio to the base of its goal."""
    ratio = "" if goal is None else f"{measured.ratio(name, goal.base):8.2f} of {goal.base}{goal.wanted}"
    print(f"{name:{WIDTH}}{measured.rate(name):12.0f}{ratio}", flush=True)


def note(name: str, value: str) -> None:
    """Print a figure that is not a rate."""
    print(f"{name:{WIDTH}}{value:>12}", flush=True)
