"""The parts of the local node that can be tested without a node: names, records, certificates, DNS answers."""

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tools.cluster import certificates, dns, network, processes
from tools.cluster.images import qualified
from tools.cluster.network import LABORATORY, link_of
from tools.cluster.processes import Process

NAME = "kubernetes.default.svc.cluster.local"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")


class TestLink:
    def test_two_checkouts_share_no_name_and_no_address(self) -> None:
        links = [link_of(Path(f"/home/technician/event-{number}")) for number in range(8)]

        for field in ("namespace", "interface", "host", "node"):
            assert len({getattr(link, field) for link in links}) == len(links)

    def test_a_checkout_always_has_the_same_link(self, tmp_path: Path) -> None:
        link = link_of(tmp_path)
        link.save(tmp_path)

        assert link_of(tmp_path) == network.recorded_link(tmp_path) == link

    def test_interface_names_are_short_enough_and_addresses_are_in_the_laboratory_network(self) -> None:
        for number in range(200):
            link = link_of(Path(f"/{number}"))

            assert len(link.interface) <= 15
            assert {ip_address(a) in LABORATORY for a in (link.host, link.node)} == {True}
            assert link.host != link.node

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"namespace": "x"}', '{"pid": 1}'])
    def test_a_damaged_record_is_ignored(self, tmp_path: Path, content: str) -> None:
        (tmp_path / network.RECORD).write_text(content)

        assert network.recorded_link(tmp_path) is None

    @ROOT
    def test_a_packet_for_a_missing_node_is_rejected_locally(self, tmp_path: Path) -> None:
        link = link_of(tmp_path)
        network.create(link)
        try:
            subprocess.run(["ip", "link", "delete", link.interface], check=True)

            with pytest.raises(OSError, match=r"unreachable|No route"), socket.socket() as client:
                client.connect((link.node, 6443))
        finally:
            network.remove(link)

    @ROOT
    def test_removing_leaves_nothing_and_can_be_repeated(self, tmp_path: Path) -> None:
        link = link_of(tmp_path)
        network.create(link)
        assert network.exists(link)

        for _ in range(2):
            network.remove(link)

            assert not network.exists(link)
            assert not link.path.exists()
            assert link.subnet not in subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout


class TestProcess:
    def test_another_process_with_a_recycled_id_is_not_killed(self, tmp_path: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            present = processes.identify(other.pid)
            assert present is not None
            earlier = Process(pid=present.pid, started=present.started - 1, boot=present.boot)
            elsewhere = Process(pid=present.pid, started=present.started, boot="another boot")

            earlier.kill()
            elsewhere.kill()

            assert other.poll() is None
            present.save(tmp_path / "record")
            assert processes.recorded(tmp_path / "record") == present
            present.kill()
            assert other.wait() == -signal.SIGKILL
            present.kill()

    def test_a_zombie_counts_as_dead(self) -> None:
        child = os.posix_spawn(sys.executable, [sys.executable, "-c", "input()"], os.environ)
        process = processes.identify(child)
        assert process is not None

        process.kill()

        assert not process.alive
        os.waitpid(child, 0)
        assert processes.identify(child) is None

    @pytest.mark.parametrize("content", ["", "null", '{"pid": 1}'])
    def test_a_damaged_record_is_ignored(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "record").write_text(content)

        assert processes.recorded(tmp_path / "record") is None


class TestCertificates:
    def test_issued_certificates_have_names_and_a_purpose(self) -> None:
        authority = certificates.Authority()
        root = x509.load_pem_x509_certificate(authority.certificate)
        user = x509.load_pem_x509_certificate(authority.issue("system:node:n", "system:nodes").certificate)
        server = x509.load_pem_x509_certificate(authority.issue("api", hosts=("198.18.0.2", "kubernetes")).certificate)

        for issued, purpose in ((user, ExtendedKeyUsageOID.CLIENT_AUTH), (server, ExtendedKeyUsageOID.SERVER_AUTH)):
            issued.verify_directly_issued_by(root)
            assert list(issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
            assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert user.subject.rfc4514_string() == "CN=system:node:n,O=system:nodes"
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(name.value) for name in names] == ["198.18.0.2", "kubernetes"]

    def test_only_the_owner_can_read_keys_even_when_an_open_file_existed(self, tmp_path: Path) -> None:
        for file in ("node.key", "kubeconfig"):
            (tmp_path / file).touch(mode=0o666)
        authority = certificates.Authority()
        identity = authority.issue("user")

        certificates.write(identity, tmp_path, "node")
        certificates.write_kubeconfig(
            tmp_path / "kubeconfig", server="https://198.18.0.2", authority=authority.certificate, identity=identity
        )

        for file in ("node.key", "kubeconfig"):
            assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600


def _answer(*, name: bytes, kind: int = 1, flags: int = 0x8500, identifier: int = dns.IDENTIFIER) -> bytes:
    header = struct.pack("!6H", identifier, flags, 1, 1, 0, 0)
    record = name + struct.pack("!2HIH", kind, 1, 5, 4) + socket.inet_aton("10.96.0.1")
    return header + dns.question(NAME)[12:] + record


class TestNameServer:
    @pytest.mark.parametrize("name", [b"\xc0\x0c", dns.question(NAME)[12:-4]], ids=["pointer", "full name"])
    def test_the_address_is_read_with_a_compressed_or_full_name(self, name: bytes) -> None:
        assert dns.first_address(_answer(name=name), NAME) == "10.96.0.1"

    @pytest.mark.parametrize(
        "answer",
        [
            _answer(name=b"\xc0\x0c", flags=0x8503),
            _answer(name=b"\xc0\x0c", kind=28),
            _answer(name=b"\xc0\x0c", identifier=1),
            dns.question(NAME),
        ],
        ids=["no such name", "another kind", "another question", "no records"],
    )
    def test_an_answer_without_the_address_is_ignored(self, answer: bytes) -> None:
        assert dns.first_address(answer, NAME) is None

    @pytest.mark.parametrize("answer", [_answer(name=b"\xc0\x0c"), _answer(name=b"\xc0\x0c")[:-20], b""])
    def test_a_malformed_answer_counts_as_no_answer(self, answer: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)

            def reply() -> None:
                _, client = server.recvfrom(512)
                server.sendto(answer, client)

            thread = threading.Thread(target=reply)
            thread.start()
            found = dns.resolve(server="127.0.0.1", name=NAME, port=server.getsockname()[1])
            thread.join()

        assert found == ("10.96.0.1" if answer == _answer(name=b"\xc0\x0c") else None)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("neobank:1", "docker.io/library/neobank:1"),
        ("event/neobank:1", "docker.io/event/neobank:1"),
        ("localhost/neobank:1", "localhost/neobank:1"),
        ("registry.event:5000/neobank:1", "registry.event:5000/neobank:1"),
        ("docker.io/library/postgres:16-alpine", "docker.io/library/postgres:16-alpine"),
    ],
)
def test_an_image_reference_is_qualified_as_the_kubelet_does(short: str, full: str) -> None:
    assert qualified(short) == full
