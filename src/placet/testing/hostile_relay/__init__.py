"""A relay that an attacker owns: a real HTTP server before a real relay, and lies of every kind.

    with HostileRelay("http://127.0.0.1:8471", lies.swapped(other)) as relay:
        RelayClient(relay.url).fetch(request_id)   # gets `other` under this request's name

What no lie takes up goes to the real relay and comes back as it is, so each lie is told in an otherwise
honest world.  `lies` changes what is said, `wire` how it is said: truncated, dripped, compressed, endless.
Callers are told apart by their bearer token, so that one may be told something else than another.

For tests of everything that talks to a relay.  Nothing here is a secret: what a relay can do, this can.
"""

from placet.testing.hostile_relay import lies, wire
from placet.testing.hostile_relay.server import Forward, HostileRelay, Lie, Raw, Reply, Seen

__all__ = ["Forward", "HostileRelay", "Lie", "Raw", "Reply", "Seen", "lies", "wire"]
