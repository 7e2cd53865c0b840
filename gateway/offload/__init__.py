"""What is too large for the event loop: decoding, checking and shaping of large answers.

A value of 300,000 elements costs tenths of a second to decode, seconds to shape and again tenths to
free, all of it under the interpreter lock, so that a thread does not help. It never comes into
being here: a worker process gets the answer's bytes and sends back bytes. What has to be bounded in
time can then be: an evaluation whose caller is gone is killed, in the middle of whatever it does.
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
