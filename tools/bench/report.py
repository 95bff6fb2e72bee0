"""Measuring in turns, since the machine is shared, and the table that comes of it."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import cpu_count
from statistics import median


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


def header(*, clients: int, workers: int, rounds: int, seconds: float, load: float) -> None:
    """Say where and how this was measured."""
    print(
        f"{cpu_count()} cores with a load of {load:.1f} from others and this, Python {platform.python_version()}; "
        f"{clients} clients, {workers} workers; medians of {rounds} rounds of {seconds:g} s.\n\n"
        f"{'':42}{'per second':>12}{'ratio':>8}",
        flush=True,
    )


def line(measured: Measured, name: str, *, base: str | None = None, reach: float | None = None) -> None:
    """Print a subject's rate, and its ratio to a base."""
    ratio = f"{measured.ratio(name, base):8.2f} of {base}" if base else ""
    wanted = f", to reach {reach:g}" if reach else ""
    print(f"{name:42}{measured.rate(name):12.0f}{ratio}{wanted}", flush=True)


def note(name: str, value: str) -> None:
    """Print a figure that is no rate."""
    print(f"{name:42}{value:>12}", flush=True)
