"""A substitute for the Pulumi provider `tls`: creates the key, request or certificate of a resource from its inputs."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OUTPUTS = {
    "tls:index/privateKey:PrivateKey": "privateKeyPem",
    "tls:index/selfSignedCert:SelfSignedCert": "certPem",
    "tls:index/certRequest:CertRequest": "certRequestPem",
    "tls:index/locallySignedCert:LocallySignedCert": "certPem",
}
"""The output of each type that the program reads."""

Inputs = Mapping[str, Any]


def issue(kind: str, inputs: Inputs) -> str:
    """Return the PEM text that a resource of this type outputs."""
    makers = {"PrivateKey": _key, "SelfSignedCert": _authority, "CertRequest": _request, "LocallySignedCert": _signed}
    return makers[kind.rpartition(":")[2]](inputs)


def _key(inputs: Inputs) -> str:
    assert (inputs["algorithm"], inputs["ecdsaCurve"]) == ("ECDSA", "P256")
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _authority(inputs: Inputs) -> str:
    key, name = _loaded(inputs["privateKeyPem"]), _name(inputs)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _certificate(name, name, key.public_key(), inputs).add_extension(identifier, critical=False)
    return _signed_by(key, builder)


def _request(inputs: Inputs) -> str:
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in inputs["dnsNames"]])
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(inputs)).add_extension(names, critical=False)
    signed = request.sign(_loaded(inputs["privateKeyPem"]), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _signed(inputs: Inputs) -> str:
    request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    authority = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = _certificate(request.subject, authority.subject, request.public_key(), inputs).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return _signed_by(_loaded(inputs["caPrivateKeyPem"]), builder)


def _certificate(subject: x509.Name, issuer: x509.Name, key: Any, inputs: Inputs) -> x509.CertificateBuilder:  # noqa: ANN401
    """Build the part of a certificate that an authority and a server have in common."""
    now, uses = datetime.now(UTC), set(inputs["allowedUses"])
    builder = (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=inputs["validityPeriodHours"]))
        .add_extension(x509.BasicConstraints(ca=inputs.get("isCaCertificate", False), path_length=None), critical=True)
        .add_extension(_key_usage(uses), critical=True)
    )
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return builder.add_extension(server, critical=False) if "server_auth" in uses else builder


def _key_usage(uses: set[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in uses,
        key_cert_sign="cert_signing" in uses,
        crl_sign="crl_signing" in uses,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False),
        encipher_only=False,
        decipher_only=False,
    )


def _name(inputs: Inputs) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, inputs["subject"]["commonName"])])


def _loaded(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _signed_by(key: ec.EllipticCurvePrivateKey, builder: x509.CertificateBuilder) -> str:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
