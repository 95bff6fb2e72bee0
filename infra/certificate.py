"""The certificates of the database server and of PgBouncer, and the paths of the files in a pod."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulumi
import pulumi_kubernetes as k8s
import pulumi_tls as tls

import kube

COMPONENT = "certificate"
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

FOLDER = "/etc/neobank/tls"
AUTHORITY_FILE = f"{FOLDER}/{AUTHORITY}"

AUTHORITY_HOURS = 10 * 365 * 24
"""Longer than the life of any stack: all clients trust this authority, so a new one must reach all of them at once."""

CERTIFICATE_HOURS = 365 * 24
"""Longer than an event with its rehearsals; a raised rotation number creates a new certificate at any time."""

_OWNER_AND_GROUP_READ = 0o440
_SERVER, _CLIENT = "tls", "authority"


@dataclass(frozen=True)
class Authority:
    """The certificate authority that signs."""

    key: pulumi.Output[str]
    certificate: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """Inputs of a certificate for `hosts`; `number` is its rotation.

    `existing` names a Secret to use instead. `server` is part of the names of the Secret and the resources. Without an
    `authority` a new one is created.
    """

    namespace: pulumi.Input[str]
    server: str
    hosts: Sequence[str]
    number: int
    existing: str
    authority: Authority | None = None


class Certificate(pulumi.ComponentResource):
    """A Secret with certificate, key and authority, created here or by the operator.

    The authority outlives each certificate that it signs, so that a renewal changes nothing for the clients. Its key is
    only in the stack's state, encrypted.
    """

    secret: pulumi.Output[str]
    version: Sequence[pulumi.Input[str]]
    """Values that change when the server must read its files again."""

    authority: Authority | None
    """The authority that signed the certificate, or None for an existing Secret."""

    def __init__(self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Certificate", name, None, opts)
        self._args = args
        if args.existing:
            self.authority = None
            self.secret = pulumi.Output.from_input(args.existing)
            self.version = [args.existing, str(args.number)]
        else:
            self.authority = args.authority or self._authority()
            entries = self._entries(self.authority)
            self.secret = kube.name_of(self._secret(entries).metadata)
            self.version = list(entries.values())
        self.register_outputs({})

    def _authority(self) -> Authority:
        key = self._key("authority-key")
        certificate = tls.SelfSignedCert(
            "authority",
            private_key_pem=key,
            is_ca_certificate=True,
            set_subject_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name="NeoBank's database authority"),
            validity_period_hours=AUTHORITY_HOURS,
            allowed_uses=["cert_signing", "crl_signing"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        return Authority(key, certificate.cert_pem)

    def _entries(self, authority: Authority) -> dict[str, pulumi.Input[str]]:
        """Sign a certificate. The resource names contain its number, so a new number creates new resources first."""
        child = pulumi.ResourceOptions(parent=self)
        server, number = self._args.server, self._args.number
        key = self._key(f"{server}-key-{number}")
        request = tls.CertRequest(
            f"{server}-request-{number}",
            private_key_pem=key,
            dns_names=list(self._args.hosts),
            subject=tls.CertRequestSubjectArgs(common_name=self._args.hosts[0]),
            opts=child,
        )
        signed = tls.LocallySignedCert(
            f"{server}-certificate-{number}",
            cert_request_pem=request.cert_request_pem,
            ca_cert_pem=authority.certificate,
            ca_private_key_pem=authority.key,
            validity_period_hours=CERTIFICATE_HOURS,
            allowed_uses=["digital_signature", "server_auth"],
            opts=child,
        )
        return {CERTIFICATE: signed.cert_pem, KEY: key, AUTHORITY: authority.certificate}

    def _key(self, name: str) -> pulumi.Output[str]:
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256", opts=pulumi.ResourceOptions(parent=self))
        return pulumi.Output.secret(key.private_key_pem)

    def _secret(self, entries: dict[str, pulumi.Input[str]]) -> k8s.core.v1.Secret:
        name = f"{self._args.server}-tls"
        return k8s.core.v1.Secret(
            name,
            metadata=kube.metadata(self._args.namespace, COMPONENT, name),
            type="kubernetes.io/tls",
            string_data=entries,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def for_server(self, server: str, hosts: Sequence[str]) -> "Certificate":
        """Return a certificate for another server by the same authority; an existing Secret serves both."""
        args = replace(self._args, server=server, hosts=hosts, authority=self.authority)
        return Certificate(f"{server}-certificate", args, pulumi.ResourceOptions(parent=self))

    def server_volume(self) -> k8s.core.v1.VolumeArgs:
        """Return the volume of a server's pod; PostgreSQL accepts a key of root that only the group may read."""
        return _volume(_SERVER, k8s.core.v1.SecretProjectionArgs(name=self.secret), _OWNER_AND_GROUP_READ)

    def client_volume(self) -> k8s.core.v1.VolumeArgs:
        """Return the volume of a client's pod: the authority only."""
        item = k8s.core.v1.KeyToPathArgs(key=AUTHORITY, path=AUTHORITY)
        return _volume(_CLIENT, k8s.core.v1.SecretProjectionArgs(name=self.secret, items=[item]))


def server_mount() -> k8s.core.v1.VolumeMountArgs:
    """Return the mount of a server's volume."""
    return kube.mount(_SERVER, FOLDER, read_only=True)


def client_mount() -> k8s.core.v1.VolumeMountArgs:
    """Return the mount of a client's volume."""
    return kube.mount(_CLIENT, FOLDER, read_only=True)


def _volume(name: str, source: k8s.core.v1.SecretProjectionArgs, mode: int | None = None) -> k8s.core.v1.VolumeArgs:
    sources = [k8s.core.v1.VolumeProjectionArgs(secret=source)]
    return k8s.core.v1.VolumeArgs(
        name=name, projected=k8s.core.v1.ProjectedVolumeSourceArgs(default_mode=mode, sources=sources)
    )
