"""Closes a listening socket without losing accepted clients.

Closing it resets every connection that the kernel has completed and the server has not accepted yet. So the
kernel is first made to complete no more of them, and those that are complete are accepted.
"""

import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

# Linux: attaches a classic BPF program that runs for each packet of a socket. This one drops every packet:
# its only instruction returns 0, the number of bytes to keep.
SO_ATTACH_FILTER = 26
DROP_ALL_PROGRAM = struct.pack("HBBI", 0x06, 0, 0, 0)
# Limit in seconds, for when accepting fails, for example without descriptors.
ACCEPT_SECONDS = 1.0


def close_listener(listener: socket.socket, accept: Callable[[socket.socket], None]) -> None:
    """Accepts all completed connections, then closes the socket. Later clients are refused."""
    _drop_handshakes(listener)
    poll, end = select.poll(), time.monotonic() + ACCEPT_SECONDS
    poll.register(listener, select.POLLIN)
    while poll.poll(0) and time.monotonic() < end:
        accept(listener)
    listener.close()


def _drop_handshakes(listener: socket.socket) -> None:
    """Drops new handshakes: clients retry after a second and are then refused, instead of reset now."""
    program = ctypes.create_string_buffer(DROP_ALL_PROGRAM, len(DROP_ALL_PROGRAM))
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program))
        )
