"""The mock upstreams of `gateway mock` and `gateway demo`.

One port serves the contracts of the public APIs in the shipped configuration: JSONPlaceholder's
users, posts and comments, Open-Meteo's forecast and geocoding. The data is generated from fixed
word lists and a fixed clock, so two mocks return the same bytes.
"""

from gateway.mock.app import CONTRACTS, create_mock_app
from gateway.mock.knobs import Knobs, parse_fail, parse_latency
from gateway.mock.serve import MockServer

__all__ = ["CONTRACTS", "Knobs", "MockServer", "create_mock_app", "parse_fail", "parse_latency"]
