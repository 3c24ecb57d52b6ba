"""Identifies a client by its address, for limits per client: an IPv4 address, or the /64 of an IPv6 one."""

import ipaddress
from functools import lru_cache

# An IPv6 customer usually has a whole /64, so a limit for each single address would limit nothing.
IPV6_PREFIX = 64
# For what is not an address, as a proxy may send it.
UNKNOWN_CLIENT = "unknown"


@lru_cache(4096)
def client_from_address(text: str | None) -> str:
    """The client with an address. IPv4 may be mapped into IPv6, and some proxies add a port."""
    host = (text or "").partition(":")[0] if (text or "").count(":") == 1 else (text or "")
    try:
        address = ipaddress.ip_address(host.partition("]")[0].removeprefix("["))
    except ValueError:
        return UNKNOWN_CLIENT
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    # Without the zone, which names an interface of this machine.
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
