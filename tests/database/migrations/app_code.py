# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app's code does with its models: reads, inserts, updates, upserts, deletes, with ordinary and extreme values.

Runs inside a process that has Django; `apps` are the models of one version.  What an action of a version means is known
from running it at home, on the schema of that version: what fails there is not legal, and what it gives there is right.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, models, transaction


@functools.cache
def text(length: int, seed: str) -> str:
    """Text that takes four bytes a character and does not compress."""
    source = random.Random(seed)
    return "".join(chr(source.randrange(0x20000, 0x2A6D0)) for _place in range(length))


def ordinary(field: Any, number: int) -> Any:
    """A value as most rows have one, another for each number."""
    kind = field.get_internal_type()
    if field.choices:
        return field.choices[0][0]
    if kind in ("CharField", "SlugField", "FilePathField", "FileField", "EmailField", "URLField"):
        return f"{field.name[:1]}{number}"[: field.max_length or 99]
    values: dict[str, Any] = {
        "TextField": f"text {number}",
        "BooleanField": bool(number % 2),
        "DateField": datetime.date(2024, 1, 1 + number % 28),
        "DateTimeField": datetime.datetime(2024, 1, 1 + number % 28, 12, tzinfo=datetime.timezone.utc),
        "TimeField": datetime.time(12, number % 60),
        "DurationField": datetime.timedelta(seconds=number),
        "UUIDField": uuid.UUID(int=number + 1),
        "JSONField": {"number": number},
        "GenericIPAddressField": f"10.0.0.{number % 250}",
        "BinaryField": bytes([number % 256]),
        "FloatField": number + 0.5,
    }
    if kind in values:
        return values[kind]
    if kind == "DecimalField":
        return decimal.Decimal(number % 9 + 1).scaleb(-field.decimal_places)
    if kind == "ArrayField":
        return [ordinary(field.base_field, number)]
    return number % 30000 + 1


def extremes(field: Any) -> list[Any]:
    """Values at the ends of what the field allows."""
    kind = field.get_internal_type()
    name = f"{field.model._meta.label_lower}.{field.name}"
    found: list[Any] = [None] if field.null else []
    if field.remote_field is not None:
        # Nothing keeps the app from writing what refers to nothing.
        return found if getattr(field, "db_constraint", True) else [*found, 987654]
    if field.choices:
        return found + [choice[0] for choice in field.choices]
    if kind in ("CharField", "SlugField", "EmailField", "URLField", "FileField"):
        return [*found, "", text(field.max_length or 4000, name)]
    if kind == "DecimalField":
        most = decimal.Decimal(10**field.max_digits - 1).scaleb(-field.decimal_places)
        return [*found, most, -most, decimal.Decimal(0)]
    if kind in RANGES:
        return [*found, *RANGES[kind]]
    values: dict[str, list[Any]] = {
        "TextField": ["", text(12000, name)],
        "BooleanField": [True, False],
        "DateField": [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
        "DateTimeField": [
            datetime.datetime(1, 1, 2, tzinfo=datetime.timezone.utc),
            datetime.datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=datetime.timezone.utc),
        ],
        "UUIDField": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
        "JSONField": [{}, [text(12000, name)], "text", 0],
        "GenericIPAddressField": ["::1", "255.255.255.255"],
        "BinaryField": [b"", random.Random(name).randbytes(12000)],
        "FloatField": [0.0, 1e300, -1e-300],
        "ArrayField": [[], [text(4000, name)] if kind == "ArrayField" and "Char" not in type(field).__name__ else []],
        "DurationField": [datetime.timedelta(0), datetime.timedelta(days=900000)],
    }
    return found + values.get(kind, [])


RANGES: dict[str, list[int]] = {
    "IntegerField": [0, -(2**31), 2**31 - 1],
    "SmallIntegerField": [0, -(2**15), 2**15 - 1],
    "BigIntegerField": [0, -(2**63), 2**63 - 1],
    "PositiveIntegerField": [0, 2**31 - 1],
    "PositiveSmallIntegerField": [0, 2**15 - 1],
    "PositiveBigIntegerField": [0, 2**63 - 1],
}


def fields_of(model: Any) -> list[Any]:
    """The fields that code sets by itself."""
    return [
        f
        for f in model._meta.concrete_fields
        if f.column and not getattr(f, "generated", False) and not f.get_internal_type().endswith("AutoField")
        and getattr(f, "name", "") != "_order"
    ]  # fmt: skip


def row(model: Any, number: int, leave_out: bool = False) -> Any:
    """An object that is not saved; with ``leave_out`` what has a default of its own is left to it."""
    values: dict[str, Any] = {}
    for field in fields_of(model):
        if leave_out and (field.has_default() or field.null or _has_db_default(field)):
            continue
        if field.remote_field is not None:
            target = field.remote_field.model
            keys = list(target._default_manager.order_by("pk").values_list(field.target_field.attname, flat=True))
            # Two fields of one row refer to different rows, so that deleting one has to follow each of them.
            place = number if field.unique else model._meta.concrete_fields.index(field)
            values[field.attname] = keys[place % len(keys) if target is not model else 0] if keys else None
        elif not (field.has_default() and getattr(field, "auto_now", False)):
            values[field.attname] = ordinary(field, number)
    return model(**values)


def _has_db_default(field: Any) -> bool:
    value = getattr(field, "db_default", models.NOT_PROVIDED)
    return value is not models.NOT_PROVIDED


def ordered(apps: Any) -> list[Any]:
    """Models with those first that others refer to."""
    left = [m for m in apps.get_models() if not m._meta.swapped and not m._meta.proxy]
    done: list[Any] = []
    while left:
        ready = [
            m for m in left
            if all(f.remote_field is None or f.remote_field.model in done or f.remote_field.model not in left
                   or f.remote_field.model is m for f in m._meta.concrete_fields)
        ]  # fmt: skip
        done += ready or left[:1]
        left = [m for m in left if m not in done]
    return done


def seed(apps: Any, first: int = 1, rows: int = 4) -> None:
    """Ordinary rows of every model, joined to one another."""
    for model in ordered(apps):
        for number in range(first, first + rows):
            row(model, number).save()
    for model in ordered(apps):
        for field in model._meta.local_many_to_many:
            if field.remote_field.through._meta.auto_created:
                for made in model._default_manager.order_by("pk"):
                    getattr(made, field.name).add(*field.remote_field.model._default_manager.order_by("pk")[:2])


@dataclass(frozen=True)
class Action:
    """One thing that code does; what it returns is compared with what it returns at home."""

    name: str
    run: Callable[[Any], Any]


def _read_back(made: Any) -> Any:
    # One row by its key: what stands there, as the code sees it.
    fresh = type(made)._default_manager.get(pk=made.pk)
    skipped = {
        f.attname for f in made._meta.concrete_fields if f.primary_key or f.get_internal_type().endswith("AutoField")
    }
    return {
        f.name: _plain(getattr(fresh, f.attname))
        for f in made._meta.concrete_fields
        if f.attname not in skipped and not getattr(f, "auto_now", False) and not getattr(f, "auto_now_add", False)
        and not _varies(f)
    }  # fmt: skip


def _varies(field: Any) -> bool:
    default = getattr(field, "db_default", None)
    return (field.has_default() and callable(field.default)) or (
        hasattr(default, "resolve_expression") and type(default).__name__ != "Value"
    )


def _plain(value: Any) -> Any:
    # 1 and Decimal("1.00") are equal, and are not the same to who prints them.
    return repr(bytes(value) if isinstance(value, memoryview) else value)


def actions_of(apps: Any) -> Iterator[Action]:
    """Everything that this version of the code may do."""
    for model in ordered(apps):
        yield from _reads(model)
        yield from _inserts(model)
        yield from _updates(model)
        yield from _upserts(model)
        yield from _deletes(model)


def _named(model: Any, what: str) -> str:
    return f"{what} {model._meta.object_name}"


def _reads(model: Any) -> Iterator[Action]:
    label = model._meta.label

    def manager(apps: Any) -> Any:
        return apps.get_model(label)._default_manager

    yield Action(_named(model, "read"), lambda apps: len(list(manager(apps).all())))
    joined = [f.name for f in model._meta.fields if f.remote_field is not None]
    if joined:
        yield Action(_named(model, "read joined"), lambda apps: len(list(manager(apps).select_related(*joined))))
    for field in model._meta.local_many_to_many:
        name = field.name
        yield Action(
            _named(model, f"read many {name} of"), lambda apps, n=name: len(list(manager(apps).prefetch_related(n)))
        )
    for field in fields_of(model):
        if field.remote_field is None and field.get_internal_type() not in ("JSONField", "BinaryField"):
            for value in [ordinary(field, 1), *extremes(field)[:3]]:
                name = f"read by {field.name} of"

                def ask(apps: Any, attname: str = field.attname, value: Any = value) -> Any:
                    asked = {f"{attname}__isnull": True} if value is None else {attname: value}
                    return len(list(manager(apps).filter(**asked)))

                yield Action(_named(model, name), ask)
        if field.get_internal_type() in ("CharField", "TextField"):
            name = f"search {field.name} of"
            yield Action(
                _named(model, name),
                lambda apps, a=field.attname: len(list(manager(apps).filter(**{f"{a}__icontains": "1"}).order_by(a))),
            )


def _inserts(model: Any) -> Iterator[Action]:
    label = model._meta.label

    def insert(apps: Any, number: int, leave_out: bool = False, **changed: Any) -> Any:
        made = row(apps.get_model(label), number, leave_out)
        for name, value in changed.items():
            setattr(made, name, value)
        made.save(force_insert=True)
        return _read_back(made)

    # Relations to what has to be unique: a target that no row of the seed has.
    yield Action(_named(model, "insert"), lambda apps: insert(apps, 51))
    yield Action(_named(model, "insert by defaults"), lambda apps: insert(apps, 52, True))
    yield Action(_named(model, "insert another like the first"), lambda apps: insert(apps, 1))
    for field in fields_of(model):
        for place, value in enumerate(extremes(field)):
            name = f"insert {field.name}[{place}] of"
            yield Action(_named(model, name), lambda apps, f=field.attname, v=value: insert(apps, 53, **{f: v}))
        if not field.unique:
            name = f"insert the same {field.name} of"
            yield Action(
                _named(model, name),
                lambda apps, f=field.attname: insert(
                    apps, 54, **{f: apps.get_model(label)._default_manager.order_by("pk").values_list(f, flat=True)[0]}
                ),
            )
        if field.remote_field is not None and field.remote_field.model is not model:

            def insert_with(apps: Any, name: str = field.name) -> Any:
                target = row(apps.get_model(label)._meta.get_field(name).remote_field.model, 70)
                target.save()
                return bool(insert(apps, 71, **{name: target}))

            yield Action(_named(model, f"insert with a new {field.name} of"), insert_with)
        elif field.get_internal_type() in ("CharField", "TextField") and not field.choices:

            def sort(apps: Any, name: str = field.attname) -> Any:
                for number, letter in enumerate(("b", "C", "a", "ä")):
                    insert(apps, 72 + number, **{name: letter})
                found = apps.get_model(label)._default_manager.order_by(name, "pk")
                return [one for one in found.values_list(name, flat=True) if one in ("b", "C", "a", "ä")]

            yield Action(_named(model, f"sort by {field.name} of"), sort)
    longest = {
        f.attname: max((v for v in extremes(f) if isinstance(v, str)), key=len, default=None) for f in fields_of(model)
    }
    longest = {name: value for name, value in longest.items() if value}
    yield Action(_named(model, "insert the longest of all in"), lambda apps: insert(apps, 80, **longest))
    for field in model._meta.concrete_fields:
        if field.get_internal_type().endswith("AutoField"):
            big = {"AutoField": 2**31 - 1, "BigAutoField": 2**63 - 1, "SmallAutoField": 2**15 - 1}
            value = big.get(field.get_internal_type(), 99)
            yield Action(_named(model, "insert the last key of"), lambda apps, v=value: insert(apps, 55, pk=v))

    def insert_many(apps: Any) -> Any:
        made = apps.get_model(label)._default_manager.bulk_create([row(apps.get_model(label), n) for n in (56, 57)])
        return [_read_back(one) for one in made]

    yield Action(_named(model, "insert many"), insert_many)
    for many in model._meta.local_many_to_many:
        if many.remote_field.through._meta.auto_created:

            def add(apps: Any, name: str = many.name) -> Any:
                made = row(apps.get_model(label), 58)
                made.save()
                getattr(made, name).set(getattr(made, name).model._default_manager.all())
                return getattr(made, name).count()

            yield Action(_named(model, f"add to {many.name} of"), add)


def _updates(model: Any) -> Iterator[Action]:
    label = model._meta.label

    def save(apps: Any) -> Any:
        one = apps.get_model(label)._default_manager.order_by("pk").first()
        one.save()
        return True

    yield Action(_named(model, "save"), save)
    for field in fields_of(model):
        for place, value in enumerate(extremes(field)):
            if field.primary_key:
                continue

            def update(apps: Any, name: str = field.attname, value: Any = value) -> Any:
                found = apps.get_model(label)._default_manager.order_by("pk")
                key = found.values_list("pk", flat=True)[0]
                found.filter(pk=key).update(**{name: value})
                return _plain(found.values_list(name, flat=True).get(pk=key))

            yield Action(_named(model, f"update {field.name}[{place}] of"), update)


def _upserts(model: Any) -> Iterator[Action]:
    label = model._meta.label
    sets = [[f.name] for f in model._meta.concrete_fields if f.unique and (not f.primary_key or f in fields_of(model))]
    sets += [list(names) for names in model._meta.unique_together]
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and constraint.fields and not constraint.condition:
            sets.append(list(constraint.fields))
    for names in sets:
        others = [f.name for f in fields_of(model) if f.name not in names and not f.primary_key] or names

        def upsert(apps: Any, names: list[str] = names, others: list[str] = others) -> Any:
            cls = apps.get_model(label)
            first = cls._default_manager.order_by("pk").first()
            made = row(cls, 61)
            for name in names:
                attname = cls._meta.get_field(name).attname
                setattr(made, attname, getattr(first, attname))
            cls._default_manager.bulk_create([made], update_conflicts=True, unique_fields=names, update_fields=others)
            return cls._default_manager.count()

        yield Action(_named(model, f"upsert by {','.join(names)} of"), upsert)
        yield Action(
            _named(model, f"update or create by {','.join(names)} of"),
            lambda apps, names=names: apps.get_model(label)._default_manager.update_or_create(
                **{n: getattr(apps.get_model(label)._default_manager.order_by("pk").first(), n) for n in names}
            )[1],
        )


def _deletes(model: Any) -> Iterator[Action]:
    label = model._meta.label

    def delete(apps: Any, place: int) -> Any:
        return bool(apps.get_model(label)._default_manager.order_by("pk")[place].delete())

    for place in range(4):
        yield Action(_named(model, f"delete {place + 1} of"), lambda apps, place=place: delete(apps, place))
    yield Action(_named(model, "delete all"), lambda apps: bool(apps.get_model(label)._default_manager.all().delete()))


def outcome(action: Action, apps: Any) -> tuple[bool, Any]:
    """Whether an action worked and what it gave; nothing of it stays."""
    try:
        with transaction.atomic():
            given = action.run(apps)
            # As connection.check_constraints() does, which then defers them again for a transaction that goes on.
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            transaction.set_rollback(True)
        return True, given
    except Exception as error:  # whatever it is, a user of the app would meet it
        return False, " ".join(str(error).split())[:200]


def outcomes(apps: Any, home: Mapping[str, tuple[bool, Any]] | None = None) -> dict[str, tuple[bool, Any]]:
    """The outcomes of all actions of a version on the database as it is.

    :param home: their outcomes at home; what did not work there is left out, since it says nothing elsewhere.
    """
    found: dict[str, tuple[bool, Any]] = {}
    for number, action in enumerate(actions_of(apps)):
        name = f"{number} {action.name}"
        if home is None or (name in home and home[name][0]):
            found[name] = outcome(action, apps)
    return found


def broken(home: dict[str, tuple[bool, Any]], abroad: dict[str, tuple[bool, Any]]) -> dict[str, str]:
    """What worked at home and fails, or gives something else, abroad."""
    found = {}
    for name, (worked, given) in home.items():
        if worked:
            works, got = abroad[name]
            if not works:
                found[name] = str(got)
            elif got != given and not name.split()[1].startswith(("read", "search")) and " the same " not in name:
                found[name] = f"gives {str(got)[:80]}, not {str(given)[:80]}"
    return found
