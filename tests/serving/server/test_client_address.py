"""Client addresses in all their notations."""

import pytest

from serving.server.client_address import UNKNOWN_CLIENT, client_from_address

ADDRESSES = {
    "192.0.2.7": "192.0.2.7",
    "192.0.2.7:5000": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "[::ffff:192.0.2.7]:5000": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "[2001:db8:1:2::9]:5000": "2001:db8:1:2::/64",
    "fe80::1%eth0": "fe80::/64",
    "::1": "::/64",
    "": UNKNOWN_CLIENT,
    "not an address": UNKNOWN_CLIENT,
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_address_belongs_to_a_client(text: str) -> None:
    assert client_from_address(text) == ADDRESSES[text]
