"""Query a name server for an address, as a pod's resolver does. `node.py` runs it inside the node's network.

python -m tools.cluster.dns SERVER NAME        prints the address; exit code 1 if there is no answer
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
    """Print the address, or exit with code 1."""
    address = resolve(server=sys.argv[1], name=sys.argv[2])
    if address is None:
        sys.exit(1)
    print(address)


def resolve(*, server: str, name: str, port: int = 53) -> str | None:
    """Return the first IPv4 address of the name, or None if the server returns none within TIMEOUT seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        try:
            client.sendto(question(name), (server, port))
            return first_address(client.recv(512), name)
        except (OSError, struct.error, IndexError):
            return None


def question(name: str) -> bytes:
    """Return a query packet for the name's IPv4 address."""
    header = struct.pack("!6H", IDENTIFIER, 0x0100, 1, 0, 0, 0)
    return header + _labels(name) + struct.pack("!2H", ADDRESS_RECORD, INTERNET)


def first_address(answer: bytes, name: str) -> str | None:
    """Return the address in the first record of an answer to a query for the name, or None if there is none."""
    identifier, flags, _, records = struct.unpack("!4H", answer[:8])
    if identifier != IDENTIFIER or flags & FAILURE or records == 0:
        return None
    start = HEADER_LENGTH + len(_labels(name)) + QUESTION_END
    # The record starts with its name: in full, or as a two-byte pointer to the name in the question.
    start += 2 if answer[start] & POINTER == POINTER else len(_labels(name))
    kind, _, _, length = struct.unpack("!2HIH", answer[start : start + 10])
    return socket.inet_ntoa(answer[start + 10 : start + 14]) if (kind, length) == (ADDRESS_RECORD, 4) else None


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


if __name__ == "__main__":
    main()
