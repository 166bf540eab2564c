"""A row of Felix's table of parameters, and how a value of it is read. (felix/config/config_params.go: resolve)"""

from __future__ import annotations

from typing import NamedTuple

from felixpy.parameter_types import type_of


class ConfigValueError(ValueError):
    """A value that Felix cannot read; `fatal` tells that it does not start then."""

    def __init__(self, reason: str, *, fatal: bool) -> None:
        self.fatal = fatal
        super().__init__(reason)


class Parameter(NamedTuple):
    """A row of Felix's table of parameters.

    `field` is the FelixConfiguration field, "" if a resource cannot set it; `default` is written like a value; `effect`
    says what changes in the rules, "" if nothing does. Flags are Felix's own: "non-zero" (the word ``none`` keeps Felix
    from starting), "die-on-fail" (so does a value that it cannot read), "local" (only the environment counts); and of
    the API: "exact" (an enumeration in which case matters), "mapping" (of texts, instead of one). `api` is a type that
    the API server demands, "" if it takes what the field's JSON type allows.
    """

    name: str
    field: str
    kind: str
    default: str
    effect: str
    flags: frozenset[str]
    api: str

    @property
    def unset(self) -> object:
        """The value where nothing is set."""
        found = type_of(self.kind)
        return found.read(self.default) if self.default else found.zero

    @property
    def fatal(self) -> bool:
        """Whether Felix does not start with a value that it cannot read."""
        return "die-on-fail" in self.flags

    def read(self, raw: str) -> object:
        """A value from what was written. Raises ConfigValueError for what Felix cannot read."""
        found = type_of(self.kind)
        if raw.lower() == "none":
            if "non-zero" in self.flags:
                raise ConfigValueError("none is not possible here", fatal=True)
            return found.zero
        try:
            return found.read(raw)
        except ValueError as wrong:
            raise ConfigValueError(str(wrong), fatal=self.fatal) from None
