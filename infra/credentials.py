"""Every generated secret, each with a rotation number of its own: only another number makes another secret."""

from typing import Literal, get_args

import pulumi
from pulumi_random import RandomPassword

from settings import Rotation, Rotations

Role = Literal["owner", "application", "backup", "metrics"]
ROLES: tuple[Role, ...] = get_args(Role)

LENGTH = 32
"""Characters of A-Z, a-z and 0-9, since passwords stand in URLs: 190 bits."""


class Credentials(pulumi.ComponentResource):
    """The password of each database role, the service's SECRET_KEY and the first administrator's password."""

    passwords: dict[Role, pulumi.Output[str]]
    secret_key: pulumi.Output[str]
    admin_password: pulumi.Output[str]

    def __init__(self, name: str, rotations: Rotations, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Credentials", name, None, opts)
        self.passwords = {role: self._generate(f"{role}-password", getattr(rotations, role)) for role in ROLES}
        self.secret_key = self._generate("secret-key", rotations.secret_key)
        self.admin_password = self._generate("admin-password", rotations.admin)
        self.register_outputs({})

    def _generate(self, name: str, rotation: Rotation) -> pulumi.Output[str]:
        generated = RandomPassword(
            name,
            length=LENGTH,
            special=False,
            keepers={"rotation": str(rotation.number)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        return pulumi.Output.secret(generated.result)
