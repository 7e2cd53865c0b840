"""The header fields of an answer, and the callback that an endpoint answers by."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.values.header_fields import Field

__all__ = ["Fields", "Respond"]


class Fields:
    """The header fields of one answer; their bytes on the wire are joined once.

    Attributes:
        pairs: the fields, in the order in which they are sent.
    """

    __slots__ = ("_varies", "_wire", "pairs")

    def __init__(self, pairs: Sequence[Field]) -> None:
        self.pairs = pairs
        self._varies: bool | None = None
        self._wire = b""

    def __iter__(self) -> Iterator[Field]:
        """Iterate over the pairs."""
        return iter(self.pairs)

    @property
    def varies(self) -> bool:
        """Whether there is a `Vary` among them; looked up once."""
        if self._varies is None:
            self._varies = any(name == b"vary" for name, _ in self.pairs)
        return self._varies

    @property
    def wire(self) -> bytes:
        """The fields as HTTP/1.1 sends them, each with its line end."""
        if not self._wire:
            lines = b"%b: %b\r\n" * len(self.pairs)
            self._wire = lines % tuple(chain.from_iterable(self.pairs))
        return self._wire


Respond: TypeAlias = Callable[[int, Fields, bytes], None]
"""Takes the status, the header fields and the content of an answer; called once."""
