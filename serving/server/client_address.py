"""Who counts as one client where a server is shared: an IPv4 address, or the network of an IPv6 one."""

import ipaddress
from functools import lru_cache

# An IPv6 customer usually has this much of the address; a share for each single one would be none.
IPV6_PREFIX = 64
# What stands for an address that is none, as a proxy may write it.
UNKNOWN = "unknown"


@lru_cache(4096)
def client_of(text: str | None) -> str:
    """The client that has an address. IPv4 may be mapped into IPv6, and some proxies add a port."""
    host = (text or "").partition(":")[0] if (text or "").count(":") == 1 else (text or "")
    try:
        address = ipaddress.ip_address(host.partition("]")[0].removeprefix("["))
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    # Without the zone, which names an interface of this machine.
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
