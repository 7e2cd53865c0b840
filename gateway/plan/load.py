"""Loads a configuration, and reports every mistake at once with its line and column.

Pieces are validated one by one (each upstream, each section, each dashboard), so that a mistake in
one hides none in another. References to a rejected piece are not further mistakes.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args

from pydantic import BaseModel, ValidationError, create_model

import gateway
from gateway.config import yaml_document as document
from gateway.config.diagnostics import diagnostics_of
from gateway.config.models import (
    MAX_NAME,
    NAME,
    RENAMED,
    UPSTREAM_NAME,
    Config,
    DashboardConfig,
    SectionConfig,
    UpstreamConfig,
    WebConfig,
)
from gateway.errors import ConfigError, Diagnostic
from gateway.plan.compiler import compile_plan
from gateway.plan.path import path_shape
from gateway.upstreams.kinds import KINDS, kind_declared, kind_of
from gateway.values.suggestion import suggest
from gateway.values.units import WRITTEN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from gateway.plan.model import Plan
    from gateway.upstreams.kind import Kind

__all__ = ["Loaded", "compile_config", "document_model", "load", "loads", "shipped"]

_MAX_BYTES = 16 * 1024 * 1024
_MAX_MESSAGE = 400
M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be served.

    Attributes:
        config: the models.
        plans: the compiled dashboards, in the order of declaration.
        file: its source, for messages.
        warnings: what will be a mistake in the next release.
    """

    config: Config
    plans: tuple[Plan, ...]
    file: str
    warnings: tuple[Diagnostic, ...] = ()


def shipped() -> Path:
    """Return the configuration that ships with the gateway."""
    package = Path(gateway.__file__).parent
    installed = package / "shipped" / "gateway.yaml"
    return installed if installed.exists() else package.parent / "config" / "gateway.yaml"


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Loaded:
    """Load a file.

    Args:
        path: path of the file, YAML (JSON is YAML too).
        environment: values for `${NAME}`; those of the process by default.

    Raises:
        ConfigError: the configuration is invalid; the error lists every mistake.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([_at_start(f"cannot be read: {error.strerror}")], name) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError([_at_start(f"is larger than {_MAX_BYTES} bytes")], name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ConfigError([Diagnostic("is not UTF-8", line=line, column=column)], name) from None
    return loads(text, name, environment)


def loads(
    text: str, name: str = "<config>", environment: Mapping[str, str] | None = None
) -> Loaded:
    """Load a text; see `load`."""
    read = document.read(text, os.environ if environment is None else environment)
    checker = _Checker(read.value)
    if read.value is not None or not read.diagnostics:
        checker.check()
    placed = [read.place(f) for f in checker.diagnostics if not read.explains(f)]
    shown = [
        _one_line(replace(f, message=read.without_values(f.message)))
        for f in (*read.diagnostics, *placed)
    ]
    diagnostics = {(f.line, f.column, f.message): f for f in shown}
    if diagnostics:
        raise ConfigError([diagnostics[key] for key in sorted(diagnostics)], name)
    config = Config(web=checker.web, upstreams=checker.upstreams, dashboards=checker.dashboards)
    warnings = tuple(read.place(warning) for warning in checker.warnings)
    return Loaded(config, tuple(checker.plans), name, warnings)


def compile_config(config: Config, file: str = "<config>") -> Loaded:
    """Compile a configuration made in code.

    Raises:
        ConfigError: the configuration is invalid; the error lists every mistake, without lines.
    """
    checker = _Checker(None)
    checker.upstreams = dict(config.upstreams)
    checker.kinds = {name: kind_of(upstream) for name, upstream in config.upstreams.items()}
    for name, upstream in config.upstreams.items():
        checker.diagnostics += _missing_here(upstream, ("upstreams", name))
    for name, dashboard in config.dashboards.items():
        checker.compile(name, dashboard, config.upstreams, ())
    checker.collisions({name: d.path for name, d in config.dashboards.items()})
    if checker.diagnostics:
        raise ConfigError(checker.diagnostics, file)
    return Loaded(config, tuple(checker.plans), file)


def document_model() -> type[Config]:
    """Return the model of the whole document, with the upstreams of every kind."""
    upstream = Union[tuple(kind.config for kind in KINDS)]  # type: ignore[valid-type] # noqa: UP007
    declared = Config.model_fields["upstreams"]
    name = get_args(declared.annotation)[0]
    return create_model(
        "Config",
        __base__=Config,
        __doc__=Config.__doc__,
        upstreams=(dict[name, upstream], declared),  # type: ignore[valid-type]
    )


def _at_start(message: str) -> Diagnostic:
    return Diagnostic(message, line=1, column=1)


def _one_line(diagnostic: Diagnostic) -> Diagnostic:
    """Return the diagnostic as one line of printable text, whatever it quotes from the document."""
    message = diagnostic.message
    if not message.isprintable():
        message = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in message
        )
    if len(message) > _MAX_MESSAGE:
        message = message[:_MAX_MESSAGE] + " ..."
    return diagnostic if message is diagnostic.message else replace(diagnostic, message=message)


def _missing_here(upstream: UpstreamConfig, at: Location) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each file or module that the upstream needs and this machine lacks.

    The model is valid without them, but the process would end at the first one.
    """
    for place, message in kind_of(upstream).missing(upstream):
        yield Diagnostic(message, (*at, *place))


class _AnyName:
    """Stands for the names of upstreams if they cannot be read; it contains every name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _declared(parameters: Any) -> dict[str, Any]:
    """Return the parameters that have a valid name, with a stand-in for each invalid schema.

    References to a rejected parameter are then not further mistakes.
    """
    if not isinstance(parameters, dict):
        return {}
    return {
        name: schema if isinstance(schema, dict) else {"type": "string"}
        for name, schema in parameters.items()
        if re.match(NAME, name) and len(name) <= MAX_NAME
    }


class _Checker:
    """Goes through a raw document piece by piece."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.diagnostics: list[Diagnostic] = []
        self.web = WebConfig()
        self.upstreams: dict[str, UpstreamConfig] = {}
        self.kinds: dict[str, Kind] = {}
        self.warnings: list[Diagnostic] = []
        self.dashboards: dict[str, DashboardConfig] = {}
        self.plans: list[Plan] = []

    def check(self) -> None:
        if not isinstance(self.raw, dict):
            self.diagnostics.append(
                Diagnostic("a configuration should be a mapping with upstreams and dashboards")
            )
            return
        for key in self.raw:
            if key not in Config.model_fields:
                close = suggest(key, Config.model_fields)
                self.diagnostics.append(
                    Diagnostic(f"unknown key {key}{close}", (key,), at_key=True)
                )
        if "web" in self.raw:
            self.web = self.model(WebConfig, self.raw["web"], ("web",)) or self.web
        upstreams = self.members("upstreams")
        for name, raw in upstreams.items():
            kind = self.kinds[name] = kind_declared(raw)
            model = self.model(kind.config, raw, ("upstreams", name))
            if model is not None:
                self.upstreams[name] = model
                self.diagnostics += _missing_here(model, ("upstreams", name))
        dashboards = self.members("dashboards")
        for name, raw in dashboards.items():
            self.dashboard(name, raw, upstreams or _AnyName())
        self.collisions(
            {
                name: raw["path"]
                for name, raw in dashboards.items()
                if isinstance(raw, dict) and isinstance(raw.get("path"), str)
            }
        )

    def members(self, key: str) -> dict[str, Any]:
        """Return the named pieces under a key of the root, their names checked."""
        raw = self.raw.get(key)
        if not isinstance(raw, dict) or not raw:
            if key in self.raw:
                self.diagnostics.append(
                    Diagnostic("should be a mapping of names, and not empty", (key,))
                )
            # A misspelled key is one mistake, not an unknown key and a missing one.
            elif not difflib.get_close_matches(key, set(self.raw) - set(Config.model_fields)):
                self.diagnostics.append(Diagnostic(f"{key} is missing"))
            return {}
        self.names(raw, (key,), UPSTREAM_NAME if key == "upstreams" else NAME)
        return raw

    def names(self, raw: Mapping[str, Any], at: Location, pattern: str) -> None:
        for name in raw:
            if not re.match(pattern, name) or len(name) > MAX_NAME:
                message = f"{name!r} is not a valid name; use letters, digits and _, no digit first"
                self.diagnostics.append(Diagnostic(message, (*at, name), at_key=True))

    def model(self, kind: type[M], raw: Any, at: Location) -> M | None:
        if raw is None:
            self.diagnostics.append(
                Diagnostic("should be a mapping, but is empty", at, at_key=True)
            )
            return None
        if isinstance(raw, dict) and RENAMED in raw:
            message = f"`{RENAMED}` is called `schema` now; rename it before the next release"
            self.warnings.append(Diagnostic(message, (*at, RENAMED), at_key=True))
        try:
            return kind.model_validate(raw, context=WRITTEN)
        except ValidationError as error:
            self.diagnostics += diagnostics_of(error, kind, raw, at)
            return None

    def dashboard(self, name: str, raw: Any, upstreams: Collection[str]) -> None:
        at: Location = ("dashboards", name)
        if not isinstance(raw, dict):
            self.model(DashboardConfig, raw, at)
            return
        declared = raw.get("sections")
        sections: dict[str, Any] = declared if isinstance(declared, dict) else {}
        self.names(sections, (*at, "sections"), NAME)
        good: dict[str, SectionConfig] = {}
        for section, slot_raw in sections.items():
            slot = self.model(SectionConfig, slot_raw, (*at, "sections", section))
            if slot is not None:
                good[section] = slot
        # Invalid keys other than `sections` are reported and then left out, so that the references
        # of the sections are still checked.
        rest = {key: value for key, value in raw.items() if key != "sections"}
        before = len(self.diagnostics)
        stand_in = {"stand_in": {"get": "a:/"}}
        model = self.model(DashboardConfig, {**rest, "sections": stand_in} if sections else raw, at)
        if model is None:
            wrong = {f.location[2] for f in self.diagnostics[before:] if len(f.location) > 2}  # noqa: PLR2004
            valid = {key: value for key, value in rest.items() if key not in wrong}
            valid.setdefault("path", "/")
            parameters = _declared(rest.get("parameters"))
            try:
                model = DashboardConfig.model_validate(
                    {**valid, "parameters": parameters, "sections": stand_in}, context=WRITTEN
                )
            except ValidationError:
                return
        refused = [section for section in sections if section not in good]
        self.compile(name, model.model_copy(update={"sections": good}), upstreams, refused)

    def compile(
        self, name: str, dashboard: DashboardConfig, upstreams: Collection[str],
        refused: Collection[str],
    ) -> None:  # fmt: skip
        try:
            plan = compile_plan(
                name, dashboard, upstreams=upstreams, declared=refused, kinds=self.kinds
            )
        except ConfigError as error:
            self.diagnostics += error.diagnostics
            return
        self.dashboards[name] = dashboard
        self.plans.append(plan)

    def collisions(self, paths: Mapping[str, str]) -> None:
        """Reject dashboards that have the same paths."""
        seen: dict[str, str] = {}
        for name, path in paths.items():
            first = seen.setdefault(path_shape(path), name)
            if first != name:
                self.diagnostics.append(
                    Diagnostic(
                        f"dashboard {first} already has this path", ("dashboards", name, "path")
                    )
                )
