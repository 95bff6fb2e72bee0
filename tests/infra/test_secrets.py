"""Generated secrets: marked as secret everywhere, new for each number, and their readers' pods roll."""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.infra.options import options
from tests.infra.program import Config, Program, generated, is_secret, plain, rolled, run, run_dev, stack_file, visible

GENERATED = {
    "owner": "owner-password",
    "application": "neobank_0-password",
    "backup": "backup-password",
    "metrics": "metrics-password",
    "secretKey": "secret-key",
    "admin": "admin-password",
}
PREVIOUS = "neobank_1-password"  # used from the application's second rotation on
READERS = {
    "owner": {"postgres-deployment", "neobank-db-init"},
    "application": {"postgres-deployment", "neobank-deployment"},
    "backup": {"postgres-deployment"},
    "metrics": {"postgres-deployment", "neobank-figures"},
    "secretKey": {"neobank-deployment"},
    "admin": {"neobank-db-init"},
}


def rotated(key: str, number: int) -> Config:
    return {**stack_file("dev"), "rotation": {key: {"number": number, "since": "2026-11-22"}}}


def test_every_secret_is_generated_from_its_own_rotation_number(dev: Program) -> None:
    made = {it.name: it.inputs for it in dev.of_kind("RandomPassword")}
    assert set(made) == {*GENERATED.values(), PREVIOUS}
    for name, inputs in made.items():
        assert inputs["length"] == 32
        assert inputs["special"] is False  # it is part of URLs
        assert inputs["keepers"] == {"rotation": "0" if name == PREVIOUS else "1"}


def test_the_application_alternates_between_two_logins_and_keeps_the_previous_password() -> None:
    found = []
    for number in (1, 2, 3):
        program = run(rotated("application", number))
        entries = program.find("Secret", "postgres-secret").inputs["stringData"]
        user = program.outputs["databaseUrl"].removeprefix("postgresql://").split(":")[0]
        found.append((user, entries["application"], entries["application_previous"], entries["application_number"]))
    assert [user for user, *_ in found] == ["neobank_0", "neobank_1", "neobank_0"]
    assert [it[3] for it in found] == ["1", "2", "3"]
    assert (found[1][2], found[2][2]) == (found[0][1], found[1][1])
    assert len({it[1] for it in found}) == 3


def test_the_previous_login_is_closed_after_the_roll_out(dev: Program) -> None:
    assert [it.name for it in dev.of_kind("Job")] == ["neobank-db-init"]
    second, third = run(rotated("application", 2)), run(rotated("application", 3))
    job = second.find("Job", "neobank-db-retire")
    assert second.find("Deployment", "neobank-deployment").urn in job.depends_on
    [container] = job.inputs["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["neobank", "db", "close-previous-login", "2"]
    assert [it["name"] for it in container["env"]] == ["DATABASE_OWNER_URL"]
    assert third.find("Job", "neobank-db-retire").inputs["spec"]["template"] != job.inputs["spec"]["template"]


@pytest.mark.parametrize("key", GENERATED)
def test_a_higher_number_replaces_one_secret_and_rolls_its_readers(dev: Program, key: str) -> None:
    other = run(rotated(key, 2))
    new = {it.name for it in other.of_kind("RandomPassword") if it.inputs["keepers"]["rotation"] == "2"}
    assert new == {PREVIOUS if key == "application" else GENERATED[key]}
    assert rolled(dev, other) == READERS[key]


def test_a_date_alone_changes_nothing(dev: Program) -> None:
    other = run(rotated("owner", 1))
    assert [it.raw for it in sorted(other.resources, key=lambda it: it.urn)] == [
        it.raw for it in sorted(dev.resources, key=lambda it: it.urn)
    ]


def test_changed_files_and_settings_roll_the_pods_that_use_them(dev: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run({**stack_file("dev"), "application": {"replicas": 1, "threads": 9}})
    assert rolled(dev, other) == {"neobank-deployment"}
    monkeypatch.setattr("database.FILES", ("start.sh",))
    assert rolled(dev, run_dev()) == {"postgres-deployment"}


def forms_of(values: Iterable[str]) -> set[str]:
    """Return the forms in which a secret could leak; a plain hash allows guessing."""
    found = {form for it in values for form in (it, base64.b64encode(it.encode()).decode())}
    return found | {hashlib.sha256(it.encode()).hexdigest() for it in values} | {"PRIVATE KEY-----"}


def generated_by(program: Program) -> set[str]:
    """Return every password and key that a run generates."""
    passwords = {generated(it.name, it.inputs["keepers"]["rotation"]) for it in program.of_kind("RandomPassword")}
    keys = program.of_kind("PrivateKey")
    return passwords | {generated(it.name, json.dumps(it.inputs, sort_keys=True)) for it in keys}


def test_no_option_makes_a_generated_secret_readable() -> None:
    """No input of any resource (annotations, ConfigMaps, environment, commands) and no plain output contains one."""
    for option in options():
        program = option.program
        assert len(generated_by(program)) >= len(GENERATED)
        forms = forms_of(generated_by(program))
        for registered in program.resources:
            text = visible(registered.raw)
            assert not [form for form in forms if form in text], (option.name, registered.urn)
        outputs = visible({name: it for name, it in program.outputs.items() if name not in program.secret_outputs})
        assert not [form for form in forms if form in outputs], option.name


def test_the_search_finds_a_secret_that_is_not_marked() -> None:
    for option in options():
        opened = visible([plain(it.raw) for it in option.program.resources])
        assert all(value in opened for value in generated_by(option.program)), option.name


def test_a_preview_shows_everything_except_secrets() -> None:
    """A checksum marked as secret would hide the whole pod template."""
    for option in options():
        for registered in option.program.kubernetes():
            if registered.kind != "Secret":
                assert "[secret]" not in visible(registered.raw), (option.name, registered.urn)


def test_only_the_outputs_that_contain_a_secret_are_marked() -> None:
    for option in options():
        assert option.program.secret_outputs == {"databasePassword", "databaseUrl", "adminPassword"}, option.name


def test_the_entries_of_every_secret_are_marked() -> None:
    for option in options():
        for registered in option.program.of_kind("Secret"):
            assert is_secret(registered.raw["stringData"]), (option.name, registered.urn)
            assert "data" not in registered.raw


def test_each_secret_contains_what_its_reader_needs(dev: Program) -> None:
    entries: dict[str, dict[str, Any]] = {it.object_name: it.inputs["stringData"] for it in dev.of_kind("Secret")}
    made = {key: generated(name, "1") for key, name in GENERATED.items()}
    host = "postgres-service.neotropolis-dev.svc"
    assert entries["postgres-secret"] == {
        **{key: made[key] for key in ("owner", "application", "backup", "metrics")},
        "application_previous": generated(PREVIOUS, "0"),
        "application_number": "1",
    }
    assert entries["neobank-owner-secret"] == {
        "DATABASE_OWNER_URL": f"postgresql://neobank_owner:{made['owner']}@{host}:5432/neobank",
        "ADMIN_PASSWORD": made["admin"],
    }
    assert entries["neobank-secret"] == {
        "DATABASE_URL": f"postgresql://neobank_0:{made['application']}@{host}:5432/neobank",
        "SECRET_KEY": made["secretKey"],
    }
    assert entries["neobank-figures-secret"] == {
        "DATABASE_URL": f"postgresql://neobank_metrics:{made['metrics']}@{host}:5432/neobank"
    }
    for role in ("backup", "metrics"):
        assert entries[f"neobank-{role}-secret"] == {
            "PGHOST": host,
            "PGPORT": "5432",
            "PGDATABASE": "neobank",
            "PGUSER": f"neobank_{role}",
            "PGPASSWORD": made[role],
        }
