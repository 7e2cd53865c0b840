"""Stores for cached answers: in this process, and in Redis for all replicas.

Only this package imports redis and aiocache, and only once a shared store is opened. A store never
fails a call: any error counts as a cache miss.
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
