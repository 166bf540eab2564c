"""A row of Felix's table of parameters, and parsing its values. (felix/config/config_params.go: resolve)"""

from __future__ import annotations

from typing import NamedTuple

from felixpy.parameter_types import type_of


class ConfigValueError(ValueError):
    """A value that Felix cannot parse; `fatal`: it then does not start."""

    def __init__(self, reason: str, *, fatal: bool) -> None:
        self.fatal = fatal
        super().__init__(reason)


class Parameter(NamedTuple):
    """A row of Felix's table of parameters.

    `field` is the FelixConfiguration field, "" if a resource cannot set it; `default` is written like a value; `effect`
    says what changes in the rules, "" if nothing does. Flags of Felix: "non-zero" (Felix does not start with the word
    ``none``), "die-on-fail" (nor with a value that it cannot parse), "local" (only the environment is read). Flags of
    the API: "exact" (a case-sensitive enumeration), "mapping" (a mapping of texts instead of a text). `api` is the type
    that the API server requires, "" if it accepts everything of the field's JSON type.
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
        """The default value."""
        found = type_of(self.kind)
        return found.read(self.default) if self.default else found.zero

    @property
    def fatal(self) -> bool:
        """Whether Felix does not start with a value that it cannot parse."""
        return "die-on-fail" in self.flags

    def read(self, raw: str) -> object:
        """Parse a value. Raises ConfigValueError for text that Felix cannot parse."""
        found = type_of(self.kind)
        if raw.lower() == "none":
            if "non-zero" in self.flags:
                raise ConfigValueError("none is not possible here", fatal=True)
            return found.zero
        try:
            return found.read(raw)
        except ValueError as wrong:
            raise ConfigValueError(str(wrong), fatal=self.fatal) from None
