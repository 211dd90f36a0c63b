# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module was given, as plain values of the types that its argument spec names.

A call (``calls/``) reads its parameters once, into a frozen dataclass; below it nothing knows of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from .errors import BadInput
from .values import seconds, size


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Request = TypeVar("Request", bound=_Dataclass)

_WITH_UNIT: dict[Any, Callable[[Any], Any]] = {"float": seconds, "int": size}
#: What is not given, by type: numbers and booleans without a default stay None.
_EMPTY: dict[str, Any] = {"str": "", "path": "", "list": (), "dict": {}}


def read(
    request: type[Request], spec: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any], **more: Any
) -> Request:
    """A request with the options of a spec, each under its own name.

    What is text and has a number for its field has a unit: a duration for seconds (``float``), a size for bytes (``int``).

    :param params: the module's; others than those of the spec are left alone.
    :param more: fields that are no options of this spec.
    :raises BadInput: a duration or a size is none.
    """
    values = {name: _value(option, params.get(name)) for name, option in spec.items()}
    for field in fields(request):
        if field.type in _WITH_UNIT and spec.get(field.name, {}).get("type") == "str":
            try:
                values[field.name] = _WITH_UNIT[field.type](values[field.name])
            except ValueError as error:
                raise BadInput(f"{field.name}: {error}") from None
    return request(**values, **more)


def _value(option: Mapping[str, Any], given: Any) -> Any:
    value = option.get("default") if given is None else given
    kind = str(option.get("type", "str"))
    if value is None:
        return _EMPTY.get(kind)
    return tuple(value) if kind == "list" else value
