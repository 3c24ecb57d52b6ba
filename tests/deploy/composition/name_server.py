"""A name server for tests with one name, whose address can change."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

# Length of a message's header (RFC 1035, 4.1), where the name of the question begins.
HEAD = 12
ANSWER, POINTER, A, IN = 0x8180, 0xC000 | HEAD, 1, 1


class NameServer:
    """Answers every query with `address` and a time to live of one second."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def serve(self) -> None:
        """Answers queries until an empty message arrives."""
        while True:
            question, client = self.socket.recvfrom(512)
            if not question:
                return
            head = struct.pack(">HHHHHH", struct.unpack(">H", question[:2])[0], ANSWER, 1, 1, 0, 0)
            record = struct.pack(">HHHIH", POINTER, A, IN, 1, 4) + socket.inet_aton(self.address)
            self.socket.sendto(head + question[HEAD:] + record, client)


@contextmanager
def name_server(address: str) -> Iterator[NameServer]:
    """Runs a name server on loopback."""
    server = NameServer(address)
    thread = Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.socket.sendto(b"", server.socket.getsockname())
        thread.join()
        server.socket.close()
