"""Changes the served version without a restart: watches the pins, loads what they name, and swaps.

Whatever fails, the version that is served stays. A version that must not be served is refused for good, until
SIGHUP or a restart; what may be better the next time, such as a registry that cannot be reached, is tried
again.
"""
