"""Where answers are kept: in this process, and in Redis for all replicas.

The only place that imports redis or aiocache, and only once a shared store is opened. A store never
fails a call: whatever is wrong with it, what it has to say is "not here".
"""

from gateway.store.memory import MemoryStore
from gateway.store.open import open_store
from gateway.store.purges import Purges
from gateway.store.seam import Acquired, Held, Lease, Store, StoreChange

__all__ = [
    "Acquired",
    "Held",
    "Lease",
    "MemoryStore",
    "Purges",
    "Store",
    "StoreChange",
    "open_store",
]
