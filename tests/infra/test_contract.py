"""Names that several files repeat are the same in each."""

import re

from contract import CONTRACT
from credentials import ROLES, current_login
from settings import Rotations
from tests.infra.program import CHECKOUT, Program

DATABASE = CHECKOUT / "database"
SINGLE = {role: getattr(CONTRACT.database, role) for role in ROLES if role != "application"}


def test_the_login_roles_are_those_of_the_contract() -> None:
    script = (DATABASE / "roles.sql").read_text(encoding="utf-8")
    passwords = dict(re.findall(r"ALTER ROLE (\w+) LOGIN PASSWORD :'(\w+)_password'", script))
    assert passwords == {login: role for role, login in SINGLE.items()}
    assert all(login in script for login in CONTRACT.database.applications)
    assert [current_login(number) for number in (1, 2, 3)] == [f"neobank_{(number - 1) % 2}" for number in (1, 2, 3)]
    assert f"CREATE DATABASE {CONTRACT.database.name}" in script
    assert f"ALTER DATABASE {CONTRACT.database.name} OWNER TO {CONTRACT.database.owner};" in script


def test_the_secret_has_the_password_files_that_roles_sql_reads(dev: Program) -> None:
    script = (DATABASE / "roles.sql").read_text(encoding="utf-8")
    read = set(re.findall(r'"\$NEOBANK_CREDENTIALS/(\w+)"', script))
    assert (
        set(dev.find("Secret", "postgres-secret").inputs["stringData"])
        == read
        == {*ROLES, "application_previous", "application_number"}
    )


def test_pg_hba_admits_each_login_and_no_other() -> None:
    lines = [line.split() for line in (DATABASE / "pg_hba.conf").read_text(encoding="utf-8").splitlines()]
    admitted = {line[2] for line in lines if line and line[0] == "host" and line[1] == CONTRACT.database.name}
    [group] = {login.rpartition("_")[0] for login in CONTRACT.database.applications}
    assert admitted == {*SINGLE.values(), f"+{group}"}


def test_every_role_has_a_rotation_number() -> None:
    assert set(ROLES) | {"tls", "secret_key", "admin"} == set(Rotations.model_fields)
