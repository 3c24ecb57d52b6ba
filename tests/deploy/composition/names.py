"""A name server for tests: it knows one name, which moves."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

# Of a message (RFC 1035, 4.1): its head, and where the name of the question begins in it.
HEAD = 12
ANSWER, POINTER, A, IN = 0x8180, 0xC000 | HEAD, 1, 1


class Names:
    """Answers every question for an address with `address`, for as long as a second."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def serve(self) -> None:
        """Until an empty message comes."""
        while True:
            question, client = self.socket.recvfrom(512)
            if not question:
                return
            head = struct.pack(">HHHHHH", struct.unpack(">H", question[:2])[0], ANSWER, 1, 1, 0, 0)
            record = struct.pack(">HHHIH", POINTER, A, IN, 1, 4) + socket.inet_aton(self.address)
            self.socket.sendto(head + question[HEAD:] + record, client)


@contextmanager
def names(address: str) -> Iterator[Names]:
    """A name server on loopback for as long as a block runs."""
    server = Names(address)
    thread = Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.socket.sendto(b"", server.socket.getsockname())
        thread.join()
        server.socket.close()
