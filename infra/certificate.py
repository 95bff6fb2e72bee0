"""The certificate by which the database's clients know it, and where its files are in a pod."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
import pulumi_tls as tls

import kube

COMPONENT = "certificate"
SECRET = "postgres-tls"  # noqa: S105  # an object's name
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

FOLDER = "/etc/neobank/tls"
AUTHORITY_FILE = f"{FOLDER}/{AUTHORITY}"

AUTHORITY_HOURS = 10 * 365 * 24
"""Longer than any stack lives: each client trusts this one, so another would have to reach all of them at once."""

CERTIFICATE_HOURS = 365 * 24
"""More than an event with its rehearsals; a raised rotation number makes another one at any time."""

_OWNER_AND_GROUP_READ = 0o440
_SERVER, _CLIENT = "tls", "authority"


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """Whom the certificate names; `number` is its rotation, and `existing` a Secret that takes its place."""

    namespace: pulumi.Input[str]
    hosts: Sequence[str]
    number: int
    existing: str


class Certificate(pulumi.ComponentResource):
    """A Secret with certificate, key and authority, made here or by somebody else.

    The authority outlives each certificate that it signs, so that a renewal changes nothing for those who verify. Its
    key is in the stack's state alone, encrypted.
    """

    secret: pulumi.Output[str]
    version: Sequence[pulumi.Input[str]]
    """Another one means that the server has to read its files anew."""

    def __init__(self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Certificate", name, None, opts)
        self._args = args
        if args.existing:
            self.secret = pulumi.Output.from_input(args.existing)
            self.version = [args.existing, str(args.number)]
        else:
            entries = self._entries()
            self.secret = kube.name_of(self._secret(entries).metadata)
            self.version = list(entries.values())
        self.register_outputs({})

    def _entries(self) -> dict[str, pulumi.Input[str]]:
        """Sign a certificate. Its number is in the resources' names, so that another one makes others beside them."""
        child = pulumi.ResourceOptions(parent=self)
        authority_key = self._key("authority-key")
        authority = tls.SelfSignedCert(
            "authority",
            private_key_pem=authority_key,
            is_ca_certificate=True,
            set_subject_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name="NeoBank's database authority"),
            validity_period_hours=AUTHORITY_HOURS,
            allowed_uses=["cert_signing", "crl_signing"],
            opts=child,
        )
        key = self._key(f"server-key-{self._args.number}")
        request = tls.CertRequest(
            f"server-request-{self._args.number}",
            private_key_pem=key,
            dns_names=list(self._args.hosts),
            subject=tls.CertRequestSubjectArgs(common_name=self._args.hosts[0]),
            opts=child,
        )
        signed = tls.LocallySignedCert(
            f"server-certificate-{self._args.number}",
            cert_request_pem=request.cert_request_pem,
            ca_cert_pem=authority.cert_pem,
            ca_private_key_pem=authority_key,
            validity_period_hours=CERTIFICATE_HOURS,
            allowed_uses=["digital_signature", "server_auth"],
            opts=child,
        )
        return {CERTIFICATE: signed.cert_pem, KEY: key, AUTHORITY: authority.cert_pem}

    def _key(self, name: str) -> pulumi.Output[str]:
        made = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256", opts=pulumi.ResourceOptions(parent=self))
        return pulumi.Output.secret(made.private_key_pem)

    def _secret(self, entries: dict[str, pulumi.Input[str]]) -> k8s.core.v1.Secret:
        return k8s.core.v1.Secret(
            SECRET,
            metadata=kube.metadata(self._args.namespace, COMPONENT, SECRET),
            type="kubernetes.io/tls",
            string_data=entries,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def server_volume(self) -> k8s.core.v1.VolumeArgs:
        """Give a server's pod all of it; PostgreSQL takes a key of root's that its group may read, and nobody else."""
        return _volume(_SERVER, k8s.core.v1.SecretProjectionArgs(name=self.secret), _OWNER_AND_GROUP_READ)

    def client_volume(self) -> k8s.core.v1.VolumeArgs:
        """Give a client's pod the authority alone."""
        item = k8s.core.v1.KeyToPathArgs(key=AUTHORITY, path=AUTHORITY)
        return _volume(_CLIENT, k8s.core.v1.SecretProjectionArgs(name=self.secret, items=[item]))


def server_mount() -> k8s.core.v1.VolumeMountArgs:
    """Mount a server's volume."""
    return kube.mount(_SERVER, FOLDER, read_only=True)


def client_mount() -> k8s.core.v1.VolumeMountArgs:
    """Mount a client's volume."""
    return kube.mount(_CLIENT, FOLDER, read_only=True)


def _volume(name: str, source: k8s.core.v1.SecretProjectionArgs, mode: int | None = None) -> k8s.core.v1.VolumeArgs:
    sources = [k8s.core.v1.VolumeProjectionArgs(secret=source)]
    return k8s.core.v1.VolumeArgs(
        name=name, projected=k8s.core.v1.ProjectedVolumeSourceArgs(default_mode=mode, sources=sources)
    )
