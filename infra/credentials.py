"""Every generated secret. Each has its own rotation number; a secret changes only when its number changes."""

from typing import Literal, get_args

import pulumi
from pulumi_random import RandomPassword

from contract import CONTRACT
from settings import Rotations

Role = Literal["owner", "application", "backup", "metrics"]
ROLES: tuple[Role, ...] = get_args(Role)

LOGINS = CONTRACT.database.applications
LENGTH = 32
"""Characters of A-Z, a-z and 0-9, because passwords are part of URLs: 190 bits."""


def current_login(number: int) -> str:
    """Return the login that the application uses at a rotation number."""
    return LOGINS[(number - 1) % len(LOGINS)]


class Credentials(pulumi.ComponentResource):
    """The password of each database role, the service's SECRET_KEY and the first administrator's password."""

    passwords: dict[Role, pulumi.Output[str]]
    previous_application: pulumi.Output[str]
    """The password of the application's other login, for the pods that still use it."""

    application_number: int
    secret_key: pulumi.Output[str]
    admin_password: pulumi.Output[str]

    def __init__(self, name: str, rotations: Rotations, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Credentials", name, None, opts)
        number = self.application_number = rotations.application.number
        application = self._generate(f"{current_login(number)}-password", number)
        self.previous_application = self._generate(f"{current_login(number - 1)}-password", number - 1)
        self.passwords = {
            "owner": self._generate("owner-password", rotations.owner.number),
            "application": application,
            "backup": self._generate("backup-password", rotations.backup.number),
            "metrics": self._generate("metrics-password", rotations.metrics.number),
        }
        self.secret_key = self._generate("secret-key", rotations.secret_key.number)
        self.admin_password = self._generate("admin-password", rotations.admin.number)
        self.register_outputs({})

    def _generate(self, name: str, number: int) -> pulumi.Output[str]:
        generated = RandomPassword(
            name,
            length=LENGTH,
            special=False,
            keepers={"rotation": str(number)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        return pulumi.Output.secret(generated.result)
