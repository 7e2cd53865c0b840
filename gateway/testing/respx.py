"""Directs every upstream call to httpx's own transport while respx is started.

respx patches methods of httpcore. The gateway's transports do not call these, so while they are
patched `HttpCall` is patched too, at the same moment: when respx's mocker starts and stops. A call
that no test mocks pays nothing for this.
"""

from __future__ import annotations

import sys
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gateway.transport import pool_is_patched
from gateway.upstreams.http.call import HttpCall

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from gateway.transport import Exchange

__all__ = ["follow_respx"]

_MOCKS = "respx.mocks"


def follow_respx() -> None:
    """Make `respx.mock` intercept the calls of every upstream, however and whenever it is started.

    It never imports respx. If respx is not imported yet, it is followed from its import on.
    """
    mocks = sys.modules.get(_MOCKS)
    if mocks is not None:
        _follow(mocks)
    elif not any(isinstance(finder, _OnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnImport())


def _follow(mocks: ModuleType) -> None:
    mocker = mocks.Mocker
    if not isinstance(vars(mocker)["start"], _Followed):
        mocker.start = _Followed(mocker.start)
        mocker.stop = _Followed(mocker.stop)
    _direct()


def _direct() -> None:
    """Direct upstream calls to where their answers are: to a mock or to the network."""
    patched = pool_is_patched()
    if patched and "exchange" not in vars(HttpCall):
        HttpCall.exchange = _Mocked()  # type: ignore[assignment]  # a descriptor
    elif not patched and "exchange" in vars(HttpCall):
        del HttpCall.exchange  # type: ignore[misc]  # likewise


class _Mocked:
    """Stands in for the attribute `exchange` of every `HttpCall`: the transport for mocks."""

    def __get__(self, call: HttpCall, _: type[HttpCall]) -> Exchange:
        return call.mocked()

    def __set__(self, call: HttpCall, exchange: Exchange) -> None:
        vars(call)["exchange"] = exchange


class _Followed(classmethod):  # type: ignore[type-arg]
    """`start` or `stop` of respx's mockers, after which upstream calls are directed."""

    def __init__(self, bound: Any) -> None:
        original = bound.__func__

        @wraps(original)
        def followed(*args: Any, **more: Any) -> Any:
            try:
                return original(*args, **more)
            finally:
                _direct()

        super().__init__(followed)


class _OnImport(MetaPathFinder):
    """Follows respx when it is imported; finds no module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find the module; follow it once it is executed."""
        del path, target
        if fullname != _MOCKS:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Following(spec.loader)
        return spec


class _Following(Loader):
    """Loads respx's mockers as their own loader does, and follows them."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave the creation to the module's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then follow it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _follow(module)
