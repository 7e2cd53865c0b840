"""The mock upstreams of `gateway mock` and `gateway demo`.

They serve on one port the contracts of the public APIs that the shipped configuration names:
JSONPlaceholder's users, posts and comments, Open-Meteo's forecast and geocoding. The data is made
here, from fixed word lists and a fixed clock: two mocks give the same bytes.
"""

from gateway.mock.app import CONTRACTS, create_mock_app
from gateway.mock.knobs import Knobs, parse_fail, parse_latency
from gateway.mock.serve import MockServer

__all__ = ["CONTRACTS", "Knobs", "MockServer", "create_mock_app", "parse_fail", "parse_latency"]
