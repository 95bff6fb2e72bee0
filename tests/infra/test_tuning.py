"""PostgreSQL settings derived from the pod's size: they fit into the pod, and the stack's settings override them."""

import re

import pytest

import tuning
from tests.infra.program import CHECKOUT, Config, run_dev
from values import mebibytes

SIZES = ["512Mi", "768Mi", "1Gi", "3Gi", "4Gi", "16Gi", "64Gi", "1Ti"]
KEPT = 3
"""MiB that a connection keeps after it has served every kind of request, measured with PostgreSQL 18."""

_KIBIBYTES = {"kB": 1, "MB": 1024}


def kibibytes(setting: str) -> int:
    found = re.fullmatch(r"([0-9]+)(kB|MB)", setting)
    assert found, setting
    return int(found[1]) * _KIBIBYTES[found[2]]


@pytest.mark.parametrize("memory", SIZES)
@pytest.mark.parametrize("storage", ["1Gi", "20Gi", "2Ti"])
def test_the_settings_fit_into_the_pod_and_onto_the_volume(memory: str, storage: str) -> None:
    found = tuning.by_size(memory, storage)
    available, connections = 1024 * mebibytes(memory), int(found["max_connections"])
    cache, work = kibibytes(found["shared_buffers"]), kibibytes(found["work_mem"])
    assert available // 5 <= cache <= available // 3
    assert cache + connections * (work + KEPT * 1024) <= available
    assert kibibytes(found["maintenance_work_mem"]) * 4 <= available  # this and the three of autovacuum
    assert cache + 1024 * mebibytes(tuning.SHARED_MEMORY) <= available
    assert tuning.fits(found["shared_buffers"], memory)
    assert cache < kibibytes(found["effective_cache_size"]) < available
    assert work >= 1024
    assert kibibytes(found["min_wal_size"]) == kibibytes(found["max_wal_size"]) <= 1024 * mebibytes(storage) // 4


@pytest.mark.parametrize(
    ("cache", "fits"),
    [("768MB", True), ("769MB", False), ("1GB", False), ("786432kB", True), ("98304", True), ("98305", False)],
)
def test_shared_buffers_must_fit_beside_the_shared_memory_volume(cache: str, *, fits: bool) -> None:
    assert tuning.fits(cache, "1Gi") is fits


def test_more_memory_never_means_fewer_connections_or_less_cache() -> None:
    found = [tuning.by_size(memory, "10Gi") for memory in SIZES]
    for name in ("shared_buffers", "effective_cache_size", "maintenance_work_mem"):
        sizes = [kibibytes(it[name]) for it in found]
        assert sizes == sorted(sizes)
    connections = [int(it["max_connections"]) for it in found]
    assert connections == sorted(connections)
    assert (connections[0], connections[-1]) == (85, tuning.MOST_CONNECTIONS)


def tuned(settings: Config) -> list[str]:
    """Return the lines of tuning.conf for a stack with these server settings."""
    program = run_dev({"postgres": {"settings": settings}})
    lines: str = program.find("ConfigMap", "postgres-config").inputs["data"]["tuning.conf"]
    return lines.splitlines()


def test_a_stacks_own_settings_replace_the_derived_ones() -> None:
    lines = tuned({"work_mem": "12MB", "jit": False, "random_page_cost": 1.1, "pg_stat_statements.max": 1000})
    assert [line for line in lines if line.startswith(("work_mem", "jit", "random", "pg_"))] == [
        "work_mem = '12MB'",
        "jit = 'false'",
        "random_page_cost = '1.1'",
        "pg_stat_statements.max = '1000'",
    ]
    assert len({line.split(" ")[0] for line in lines}) == len(lines)


def test_a_stack_cannot_set_what_controls_access_and_files() -> None:
    """These are the settings on the command line in start.sh and those of the program's own files."""
    script = (CHECKOUT / "database" / "start.sh").read_text(encoding="utf-8")
    reserved = set(re.findall(r"-c ([a-z_]+)=", script)) - {"log_statement", "log_min_duration_statement"}
    reserved -= {"log_min_error_statement"}  # only for the private server
    assert {"hba_file", "ssl_key_file", "shared_preload_libraries", "listen_addresses"} <= reserved
    for name in {*reserved, "password_encryption", "data_directory", "port", "include", "max_connections", "fsync"}:
        assert tuning.is_reserved(name), name
    for name in ("work_mem", "shared_buffers", "log_min_duration_statement", "autovacuum_naptime"):
        assert not tuning.is_reserved(name), name


def test_enough_connections_are_reserved_for_other_clients() -> None:
    """Two each for the owner's two Jobs, expiry, figures, a backup and psql, and three for the superuser."""
    assert tuning.OTHER_CONNECTIONS >= 2 * 6 + 3
