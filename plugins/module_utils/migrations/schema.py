# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as Django's states and PostgreSQL's catalogue know them, and what is pending, read from what the app told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reference:
    """A foreign key that the database has; ``on_delete`` is what the database itself does."""

    table: str
    column: str
    on_delete: str = "NO ACTION"

    @property
    def acts(self) -> bool:
        """Whether the database follows a deletion by itself."""
        return self.on_delete not in ("NO ACTION", "RESTRICT")


@dataclass(frozen=True)
class Column:
    """A column as a model wants it.

    :ivar fills: rows that are there get a value when the column is made.
    :ivar db_default: digest of the default that the database has, empty for none.
    :ivar db_default_kind: ``constant``, ``stable`` or ``volatile``.
    :ivar generated: digest of its expression, empty where code sets it.
    :ivar total: no row can make that expression an error.
    :ivar automatic: the database numbers it (an identity).
    """

    field: str
    column: str
    type: str
    null: bool = False
    primary_key: bool = False
    automatic: bool = False
    fills: bool = False
    db_default: str = ""
    db_default_kind: str = ""
    generated: str = ""
    total: bool = True
    collation: str = ""
    check: str = ""
    reference: Reference | None = None
    comment: str = ""
    #: What the database can put in for code that does not know the column, in words without values; or why nothing.
    stand_in: str = ""
    no_stand_in: str = ""

    @property
    def given_by_database(self) -> bool:
        """Whether an INSERT that does not name it works, whatever else is in the row."""
        return bool(self.null or self.db_default or self.generated or self.automatic)


@dataclass(frozen=True)
class Unique:
    """A rule that no two rows have the same in some columns."""

    key: str
    columns: tuple[str, ...]
    name: str = ""
    condition: str = ""
    expressions: str = ""
    deferrable: bool = False
    nulls_distinct: bool = True

    @property
    def plain(self) -> bool:
        """Whether it holds for all rows and these columns as they are."""
        return not (self.condition or self.expressions)

    @property
    def upsert_target(self) -> bool:
        """Whether ``ON CONFLICT (columns)`` can mean it."""
        return self.plain and not self.deferrable


@dataclass(frozen=True)
class Check:
    """A rule for each row (``check``), for pairs of rows (``exclusion``), or of a class that is not known (``other``)."""

    name: str
    kind: str = "check"
    digest: str = ""
    columns: tuple[str, ...] = ()
    null_passes: bool = False


@dataclass(frozen=True)
class Index:
    """An index; ``plain`` says that its expressions and condition fail for no row."""

    key: str
    columns: tuple[str, ...]
    name: str = ""
    method: str = "btree"
    plain: bool = True
    digest: str = ""


@dataclass(frozen=True)
class Table:
    """A table as a state knows it; columns are by field name."""

    table: str
    managed: bool = True
    primary_key: tuple[str, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)
    uniques: Mapping[str, Unique] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    indexes: Mapping[str, Index] = field(default_factory=dict)
    comment: str = ""

    def has(self, column: str) -> bool:
        return self.named(column) is not None

    def named(self, column: str) -> Column | None:
        """The column of that name in the database."""
        return next((c for c in self.columns.values() if c.column == column), None)


@dataclass(frozen=True)
class LiveColumn:
    """What the catalogue says of a column (``attnotnull``, ``atthasdef``, identity, generated)."""

    not_null: bool
    given: bool


@dataclass(frozen=True)
class LiveIndex:
    columns: tuple[str, ...]
    valid: bool = True
    unique: bool = False
    plain: bool = True
    immediate: bool = True

    @property
    def keeps_apart(self) -> bool:
        """Whether no two rows have the same in its columns, so that ``ON CONFLICT (columns)`` can mean it."""
        return self.valid and self.unique and self.plain and self.immediate


@dataclass(frozen=True)
class LiveReference:
    columns: tuple[str, ...]
    table: str
    acts: bool = False


@dataclass(frozen=True)
class LiveTable:
    """What the catalogue says of a table.

    :ivar kind: ``r`` for a plain table, ``p`` for a partitioned one.
    :ivar empty: None where it could not be known in time, as in ``nulls`` and ``duplicates``.
    """

    rows: int = -1
    bytes: int = 0
    empty: bool | None = None
    columns: Mapping[str, LiveColumn] = field(default_factory=dict)
    indexes: Mapping[str, LiveIndex] = field(default_factory=dict)
    references: tuple[LiveReference, ...] = ()
    constraints: Mapping[str, bool] = field(default_factory=dict)
    nulls: Mapping[str, bool | None] = field(default_factory=dict)
    duplicates: Mapping[str, bool | None] = field(default_factory=dict)
    kind: str = "r"
    #: By ``column: new type``: whether the change cuts or rounds a value, ``fails`` where one cannot be of that type.
    losses: Mapping[str, bool | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Tables before and after an operation, by the model that they belong to, and what goes on under another name."""

    before: Mapping[str, Table] = field(default_factory=dict)
    after: Mapping[str, Table] = field(default_factory=dict)
    models: tuple[tuple[str, str], ...] = ()
    fields: tuple[str, str, str] | None = None
    fills: Mapping[str, bool] = field(default_factory=dict)
    #: By table and column that comes or goes: what the database can put in, and why nothing.
    stand_ins: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One operation of a migration.

    :ivar opaque: what it does cannot be known: ``python``, ``sql``, ``custom``.
    :ivar batches: its function has ``evenkeel_batches``, which does the same in steps that can be committed singly.
    :ivar separate: the operations on the database alone; ``stated`` is then what the state alone claims.
    """

    index: int
    operation: str
    kind: str = ""
    reversible: bool = True
    atomic: bool = True
    opaque: str = ""
    batches: bool = False
    difference: Difference = field(default_factory=Difference)
    stated: Difference | None = None
    separate: tuple[Operation, ...] = ()
    concurrently: bool = False
    not_valid: bool = False
    extension: str = ""
    available: bool = True
    collation: str = ""
    removes: bool = False
    validates: tuple[str, str] | None = None
    sql: tuple[str, ...] | None = None
    #: What would put up its bridge, if it is put off and has one.
    bridge_sql: tuple[str, ...] = ()


@dataclass(frozen=True)
class Migration:
    app: str
    name: str
    operations: tuple[Operation, ...]
    atomic: bool = True
    declared: str = ""
    ancestors: frozenset[tuple[str, str]] = frozenset()
    #: Recorded already, but the code that serves does not know it.
    recorded: bool = False
    #: Its author says that what moves rows in it is short.
    one_transaction: bool = False


@dataclass(frozen=True)
class Database:
    """What is pending in one database; ``old`` and ``new`` are what the two codes know of the tables, by name.

    :ivar sizes: by app that moves data, its tables with their bytes.
    :ivar upserts: where the new code may name unique columns in ``ON CONFLICT``, or why that is not known; empty where it does not.
    :ivar own_collations: names of collations that sort as the database does anyway.
    """

    alias: str
    vendor: str
    migrations: tuple[Migration, ...]
    old: Mapping[str, tuple[Table, ...]] = field(default_factory=dict)
    new: Mapping[str, tuple[Table, ...]] = field(default_factory=dict)
    live: Mapping[str, LiveTable | None] = field(default_factory=dict)
    prepared_statements: bool = False
    applied: int = 0
    to_record: tuple[tuple[str, str], ...] = ()
    sizes: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    own_collations: frozenset[str] = frozenset()
    upserts: str = "nobody has looked for one"


# -- from what the script in the app told -------------------------------------------------------------------------


def _column(name: str, report: Mapping[str, Any]) -> Column:
    default, generated, reference = report["db_default"], report["generated"], report["reference"]
    return Column(
        field=name,
        column=report["column"],
        type=str(report["type"]),
        null=report["null"],
        primary_key=report["primary_key"],
        automatic=report["automatic"],
        fills=report["default"],
        db_default=default["digest"] if default else "",
        db_default_kind=default["kind"] if default else "",
        generated=generated["digest"] if generated else "",
        total=generated["never_fails"] if generated else True,
        collation=report["collation"],
        check=report["check"],
        reference=Reference(reference["table"], reference["column"], reference["on_delete"]) if reference else None,
        comment=report["comment"],
    )


def table_of(report: Mapping[str, Any]) -> Table:
    """One table of a state."""
    uniques = {
        key: Unique(
            key, tuple(u["columns"]), u["name"], u["condition"], u["expressions"], u["deferrable"], u["nulls_distinct"]
        )
        for key, u in report["uniques"].items()
    }
    indexes = {
        key: Index(key, tuple(i["columns"]), i["name"], i["method"], i["plain"], i.get("digest", ""))
        for key, i in report["indexes"].items()
    }
    return Table(
        report["table"],
        report["managed"],
        tuple(report["primary_key"]),
        {name: _column(name, c) for name, c in report["columns"].items()},
        uniques,
        {
            n: Check(n, c["kind"], c["digest"], tuple(c["columns"]), c["null_passes"])
            for n, c in report["checks"].items()
        },
        indexes,
        report["comment"],
    )


def _live(report: Mapping[str, Any] | None) -> LiveTable | None:
    if report is None:
        return None
    foreign = [c for c in report["constraints"].values() if c["type"] == "f"]
    return LiveTable(
        report["rows"],
        report["bytes"],
        report["empty"],
        {
            n: LiveColumn(c["not_null"], c["default"] or c["identity"] or c["generated"])
            for n, c in report["columns"].items()
        },
        {
            n: LiveIndex(
                tuple(i["columns"]), i["valid"], i["unique"], not (i["partial"] or i["expressions"]), i["immediate"]
            )
            for n, i in report["indexes"].items()
        },
        tuple(LiveReference(tuple(c["columns"]), c["references"], c["on_delete"] in ("c", "n", "d")) for c in foreign),
        {n: c["validated"] for n, c in report["constraints"].items()},
        report["nulls"],
        report["duplicates"],
        report["kind"],
        report.get("losses", {}),
    )


def _difference(report: Mapping[str, Any] | None) -> Difference:
    if not report or "before" not in report:
        return Difference()
    renames = report.get("renames", {})
    return Difference(
        {k: table_of(t) for k, t in report["before"].items()},
        {k: table_of(t) for k, t in report["after"].items()},
        tuple((old, new) for old, new in renames.get("models", [])),
        tuple(renames["fields"]) if "fields" in renames else None,
        report.get("fills", {}),
        {(t, c): (told["shown"], told["why"]) for t, c, told in report.get("stand_ins", ())},
    )


def _operation(report: Mapping[str, Any]) -> Operation:
    validates = report.get("validates")
    return Operation(
        index=report["index"],
        operation=report["operation"],
        kind=report["kind"],
        reversible=report["reversible"],
        atomic=report["atomic"],
        opaque=report.get("opaque", ""),
        batches=report.get("batches", False),
        difference=_difference(report),
        stated=_difference(report["stated"]) if report.get("stated") else None,
        separate=tuple(_operation(o) for o in report.get("separate", [])),
        concurrently=report.get("concurrently", False),
        not_valid=report.get("not_valid", False),
        extension=report.get("extension", ""),
        available=report.get("available", True),
        collation=report.get("collation", ""),
        removes=report.get("removes", False),
        validates=(validates[0], validates[1]) if validates else None,
        sql=tuple(report["sql"]) if report.get("sql") is not None else None,
        bridge_sql=tuple(report.get("bridge_sql") or ()),
    )


def _by_name(report: list[Mapping[str, Any]]) -> dict[str, tuple[Table, ...]]:
    found: dict[str, tuple[Table, ...]] = {}
    for one in report:
        table = table_of(one)
        found[table.table] = (*found.get(table.table, ()), table)
    return found


def database_of(report: Mapping[str, Any]) -> Database:
    """What the script told of one database."""
    return Database(
        alias=report["alias"],
        vendor=report["vendor"],
        migrations=tuple(
            Migration(
                m["app"],
                m["name"],
                tuple(_operation(o) for o in m["operations"]),
                m["atomic"],
                m["declared"] or "",
                frozenset((app, name) for app, name in m["ancestors"]),
                m.get("recorded", False),
                m.get("one_transaction", False),
            )
            for m in report["migrations"]
        ),
        old=_by_name(report["old"]),
        new=_by_name(report["new"]),
        live={name: _live(one) for name, one in report["catalogue"].items()},
        prepared_statements=report["prepared_statements"],
        applied=report.get("applied", 0),
        to_record=tuple((app, name) for app, name in report.get("to_record", [])),
        sizes={app: tuple((n, size) for n, size in tables) for app, tables in report.get("sizes", {}).items()},
        own_collations=frozenset(report.get("own_collations") or ()),
        upserts=report.get("upserts", Database.upserts),
    )
