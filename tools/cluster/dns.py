"""Asks a name server for one address, as a pod's resolver would: a condition to wait on, run inside the node's network.

python -m tools.cluster.dns SERVER NAME        prints the address; exit code 1 when there is no answer
"""

import socket
import struct
import sys

TIMEOUT = 2.0
IDENTIFIER = 0x4E42
HEADER_LENGTH = 12
QUESTION_END = 4
FAILURE = 0x000F
POINTER = 0xC0
ADDRESS_RECORD = 1
INTERNET = 1


def main() -> None:
    """Prints the address, or ends with exit code 1."""
    address = resolve(server=sys.argv[1], name=sys.argv[2])
    if address is None:
        sys.exit(1)
    print(address)


def resolve(*, server: str, name: str, port: int = 53) -> str | None:
    """The first IPv4 address that the server gives for the name; None when it gives none within TIMEOUT seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        try:
            client.sendto(question(name), (server, port))
            return first_address(client.recv(512), name)
        except (OSError, struct.error, IndexError):
            return None


def question(name: str) -> bytes:
    """A query packet for the name's IPv4 address."""
    header = struct.pack("!6H", IDENTIFIER, 0x0100, 1, 0, 0, 0)
    return header + _labels(name) + struct.pack("!2H", ADDRESS_RECORD, INTERNET)


def first_address(answer: bytes, name: str) -> str | None:
    """The address in the first record of an answer whose one question was the name; None when there is none."""
    identifier, flags, _, records = struct.unpack("!4H", answer[:8])
    if identifier != IDENTIFIER or flags & FAILURE or records == 0:
        return None
    start = HEADER_LENGTH + len(_labels(name)) + QUESTION_END
    # The record opens with its name, spelt out or as a two-byte pointer to the question's.
    start += 2 if answer[start] & POINTER == POINTER else len(_labels(name))
    kind, _, _, length = struct.unpack("!2HIH", answer[start : start + 10])
    return socket.inet_ntoa(answer[start + 10 : start + 14]) if (kind, length) == (ADDRESS_RECORD, 4) else None


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


if __name__ == "__main__":
    main()
