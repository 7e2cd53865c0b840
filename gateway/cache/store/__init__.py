"""Where answers are kept: in this process, and in Redis for all replicas.

The only place that imports redis or aiocache, and only once a shared store is opened. A store never
fails a call: whatever is wrong with it, what it has to say is "not here".
"""

from gateway.cache.store.base import Acquired, Held, Lease, Store, StoreChange
from gateway.cache.store.factory import open_store
from gateway.cache.store.memory import MemoryStore
from gateway.cache.store.purges import Purges

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
