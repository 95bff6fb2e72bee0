"""Generated secrets: marked wherever they go, new when their number is, and the pods that read them roll."""

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
PREVIOUS = "neobank_1-password"  # until the application's second rotation
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


def test_every_secret_is_generated_from_its_own_number(dev: Program) -> None:
    made = {it.name: it.inputs for it in dev.of_kind("RandomPassword")}
    assert set(made) == {*GENERATED.values(), PREVIOUS}
    for name, inputs in made.items():
        assert inputs["length"] == 32
        assert inputs["special"] is False  # it stands in URLs
        assert inputs["keepers"] == {"rotation": "0" if name == PREVIOUS else "1"}


def test_the_applications_logins_take_turns_and_the_current_ones_password_stays() -> None:
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
def test_a_raised_number_replaces_one_secret_and_rolls_who_reads_it(dev: Program, key: str) -> None:
    other = run(rotated(key, 2))
    new = {it.name for it in other.of_kind("RandomPassword") if it.inputs["keepers"]["rotation"] == "2"}
    assert new == {PREVIOUS if key == "application" else GENERATED[key]}
    assert rolled(dev, other) == READERS[key]


def test_a_date_alone_changes_nothing(dev: Program) -> None:
    other = run(rotated("owner", 1))
    assert [it.raw for it in sorted(other.resources, key=lambda it: it.urn)] == [
        it.raw for it in sorted(dev.resources, key=lambda it: it.urn)
    ]


def test_changed_files_and_settings_roll_their_pods(dev: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run({**stack_file("dev"), "application": {"replicas": 1, "threads": 9}})
    assert rolled(dev, other) == {"neobank-deployment"}
    monkeypatch.setattr("database.FILES", ("start.sh",))
    assert rolled(dev, run_dev()) == {"postgres-deployment"}


def forms_of(values: Iterable[str]) -> set[str]:
    """Give the forms in which a secret could be readable; its hash alone could be tried out."""
    found = {form for it in values for form in (it, base64.b64encode(it.encode()).decode())}
    return found | {hashlib.sha256(it.encode()).hexdigest() for it in values} | {"PRIVATE KEY-----"}


def generated_by(program: Program) -> set[str]:
    """Give every password and key that a program makes."""
    passwords = {generated(it.name, it.inputs["keepers"]["rotation"]) for it in program.of_kind("RandomPassword")}
    keys = program.of_kind("PrivateKey")
    return passwords | {generated(it.name, json.dumps(it.inputs, sort_keys=True)) for it in keys}


def test_what_is_generated_is_readable_nowhere_whatever_the_option() -> None:
    """Neither in an input of any resource (annotations, ConfigMaps, environment, commands) nor in a plain output."""
    for option in options():
        program = option.program
        assert len(generated_by(program)) >= len(GENERATED)
        forms = forms_of(generated_by(program))
        for registered in program.resources:
            text = visible(registered.raw)
            assert not [form for form in forms if form in text], (option.name, registered.urn)
        plainly = visible({name: it for name, it in program.outputs.items() if name not in program.secret_outputs})
        assert not [form for form in forms if form in plainly], option.name


def test_the_walk_would_find_a_secret_left_open() -> None:
    for option in options():
        opened = visible([plain(it.raw) for it in option.program.resources])
        assert all(value in opened for value in generated_by(option.program)), option.name


def test_a_preview_shows_all_that_is_no_secret() -> None:
    """A checksum that counted as a secret would hide the whole template it stands in."""
    for option in options():
        for registered in option.program.kubernetes():
            if registered.kind != "Secret":
                assert "[secret]" not in visible(registered.raw), (option.name, registered.urn)


def test_the_outputs_that_hold_a_secret_are_marked_and_no_others() -> None:
    for option in options():
        assert option.program.secret_outputs == {"databasePassword", "databaseUrl", "adminPassword"}, option.name


def test_every_secrets_entries_are_marked() -> None:
    for option in options():
        for registered in option.program.of_kind("Secret"):
            assert is_secret(registered.raw["stringData"]), (option.name, registered.urn)
            assert "data" not in registered.raw


def test_each_secret_holds_what_its_reader_needs(dev: Program) -> None:
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
