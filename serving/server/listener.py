"""Closing a socket that listens, so that nobody is lost who was let in.

Closing it resets every connection that the system has completed and nobody has accepted yet. So first the
system is told to complete no more of them.
"""

import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

# Linux: a classic BPF program for each packet that a socket gets; this one has a single step, "keep 0 bytes".
SO_ATTACH_FILTER = 26
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
# Seconds that accepting may take, if it cannot be done: no descriptors, say.
SECONDS = 1.0


def close(listener: socket.socket, accept: Callable[[socket.socket], None]) -> None:
    """Accepts what the system has completed, and closes; whoever comes later is refused."""
    _drop_handshakes(listener)
    watch, end = select.poll(), time.monotonic() + SECONDS
    watch.register(listener, select.POLLIN)
    while watch.poll(0) and time.monotonic() < end:
        accept(listener)
    listener.close()


def _drop_handshakes(listener: socket.socket) -> None:
    """Clients try again after a second, and are refused then. Without it, one that comes now is reset."""
    program = ctypes.create_string_buffer(DROP, len(DROP))
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program))
        )
