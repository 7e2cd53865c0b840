"""Offloading of large answers to worker processes: decoding, checking and shaping.

A value of 300,000 elements takes tenths of a second to decode, seconds to shape and tenths of a
second to free, all under the interpreter lock, so a thread does not help. The gateway never decodes
it: a worker process receives the answer's bytes and returns bytes. A job whose caller was cancelled
is killed.
"""

from gateway.offload.dispatch import UNDECODED, Offload, Shaped
from gateway.offload.processes import Processes, WorkerLostError
from gateway.offload.weight import FEW, LARGE, MANY, SMALL, values_in

__all__ = [
    "FEW",
    "LARGE",
    "MANY",
    "SMALL",
    "UNDECODED",
    "Offload",
    "Processes",
    "Shaped",
    "WorkerLostError",
    "values_in",
]
