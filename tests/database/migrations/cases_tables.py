# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases: tables, indexes, constraints, what Django cannot know, and several operations together."""

from __future__ import annotations

import django
from django.contrib.postgres import operations as p
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex, HashIndex
from django.db import migrations as m
from django.db import models as d
from django.db.models import F, Q
from django.db.models.functions import Lower

from tests.database.migrations.cases import (
    CASCADE,
    add,
    alter,
    base,
    case,
    char,
    check,
    constrain,
    constrained,
    having,
    index,
    model,
    remove,
    to,
    unconstrain,
    unique,
)  # fmt: skip

# -- tables -------------------------------------------------------------------------------------------------------
case("CreateModel", lambda: model("Note", text=d.TextField()), quick=True)
case("CreateModel with a ForeignKey", lambda: model("Note", item=to("Item")), quick=True)
case("CreateModel with a ForeignKey PROTECT", lambda: model("Note", item=to("Item", on_delete=d.PROTECT)))
case("CreateModel with a ManyToManyField", lambda: model("Note", items=d.ManyToManyField("shop.Item")))
case("CreateModel managed=False", lambda: model("Note", {"managed": False, "db_table": "shop_place"}, name=char()))
case("CreateModel proxy", lambda: m.CreateModel("Special", [], {"proxy": True}, bases=("shop.item",)))
case("CreateModel that inherits a table", lambda: m.CreateModel("Special", [
    ("item_ptr", d.OneToOneField("shop.item", CASCADE, parent_link=True, primary_key=True)), ("extra", char())],
    bases=("shop.item",)))  # fmt: skip
case("CreateModel, then fields of it",
     lambda: model("Note", text=d.TextField()), add("stock", lambda: d.IntegerField(default=0), of="Note"),
     alter("text", lambda: char(20, unique=True), of="Note"), lambda: m.RenameField("Note", "text", "words"))  # fmt: skip
case("DeleteModel", lambda: m.DeleteModel("Lone"), start=lambda: [*base(), model("Lone", name=char())], quick=True)
case("DeleteModel with a ForeignKey", lambda: m.DeleteModel("Note"), quick=True,
     start=lambda: [*base(), model("Note", item=to("Item"))])  # fmt: skip
case("DeleteModel with a ForeignKey db_constraint=False", lambda: m.DeleteModel("Note"),
     start=lambda: [*base(), model("Note", item=to("Item", db_constraint=False))])  # fmt: skip
case("DeleteModel of both ends", lambda: m.DeleteModel("Item"), lambda: m.DeleteModel("Place"))
case("DeleteModel with a ManyToManyField", lambda: m.DeleteModel("Note"),
     start=lambda: [*base(), model("Note", items=d.ManyToManyField("shop.Item"))])  # fmt: skip
case("RenameModel", lambda: m.RenameModel("Item", "Thing"), quick=True)
case("RenameModel of what is referred to", lambda: m.RenameModel("Place", "Spot"))
case("RenameModel with a ManyToManyField, nobody upserts", lambda: m.RenameModel("Item", "Thing"), upserts=False,
     start=having(tags=lambda: d.ManyToManyField("shop.Place", related_name="+")))  # fmt: skip
case(
    "RenameModel with a unique column",
    lambda: m.RenameModel("Item", "Thing"),
    start=having(code=lambda: char(unique=True)),
)
case("RenameModel with a unique column, nobody upserts", lambda: m.RenameModel("Item", "Thing"), upserts=False,
     start=having(code=lambda: char(unique=True)))  # fmt: skip
case("RenameModel that keeps its table", lambda: m.RenameModel("Item", "Thing"),
     start=lambda: base({"db_table": "shop_item"}))  # fmt: skip
case("RenameModel with a ManyToManyField", lambda: m.RenameModel("Item", "Thing"),
     start=having(tags=lambda: d.ManyToManyField("shop.Place", related_name="+")))  # fmt: skip
case("AlterModelTable", lambda: m.AlterModelTable("Item", "things"))
case("AlterModelTable to the same name", lambda: m.AlterModelTable("Item", "shop_item"))
case(
    "AlterModelOptions",
    lambda: m.AlterModelOptions("Item", {"ordering": ["name"], "verbose_name": "thing"}),
    quick=True,
)
case("AlterModelOptions managed goes", lambda: m.AlterModelOptions("Item", {"managed": False}))
case("AlterModelTableComment", lambda: m.AlterModelTableComment("Item", "things"))
case("order_with_respect_to comes", lambda: m.AlterOrderWithRespectTo("Item", "place"))
case("order_with_respect_to goes", lambda: m.AlterOrderWithRespectTo("Item", None),
     start=lambda: base({"order_with_respect_to": "place"}))  # fmt: skip

if django.VERSION >= (5, 2):
    case("CreateModel with a CompositePrimaryKey", lambda: m.CreateModel("Pair", [
        ("pk", d.CompositePrimaryKey("a", "b")), ("a", d.IntegerField()), ("b", d.IntegerField()), ("name", char())]))  # fmt: skip
    case("AddField null=True to a model with a CompositePrimaryKey", add("note", lambda: char(null=True), of="Pair"),
         start=lambda: [*base(), m.CreateModel("Pair", [
             ("pk", d.CompositePrimaryKey("a", "b")), ("a", d.IntegerField()), ("b", d.IntegerField())])])  # fmt: skip

# -- indexes ------------------------------------------------------------------------------------------------------
case("AddIndex", index("name"), quick=True)
case("AddIndex of two columns", index("name", "number"))
case("AddIndex on text", index("body"), start=having(body=d.TextField), quick=True)
case("AddIndex on a long varchar", index("long"), start=having(long=lambda: char(2000)))
case("AddIndex on several varchars", index("a", "b", "c", "d"),
     start=having(a=lambda: char(255), b=lambda: char(255), c=lambda: char(255), d=lambda: char(255)))  # fmt: skip
case("AddIndex of an expression", lambda: m.AddIndex("Item", d.Index(Lower("name"), name="by_low")))
case(
    "AddIndex of an expression that can fail", lambda: m.AddIndex("Item", d.Index(F("number") * F("number"), name="sq"))
)
case(
    "AddIndex with a condition",
    lambda: m.AddIndex("Item", d.Index(fields=["name"], condition=Q(number__gt=5), name="some")),
)
case("AddIndex with include", lambda: m.AddIndex("Item", d.Index(fields=["name"], include=["number"], name="covers")))
case("AddIndex Gin on JSON", lambda: m.AddIndex("Item", GinIndex(fields=["data"], name="by_data")),
     start=having(data=d.JSONField))  # fmt: skip
case("AddIndex Gin on an array of text", lambda: m.AddIndex("Item", GinIndex(fields=["words"], name="by_words")),
     start=having(words=lambda: ArrayField(d.TextField())))  # fmt: skip
case("AddIndex Brin", lambda: m.AddIndex("Item", BrinIndex(fields=["number"], name="by_range")))
case("AddIndex Hash on text", lambda: m.AddIndex("Item", HashIndex(fields=["body"], name="by_hash")),
     start=having(body=d.TextField))  # fmt: skip
case("RemoveIndex", lambda: m.RemoveIndex("Item", "by_name"),
     start=lambda: base({"indexes": [d.Index(fields=["name"], name="by_name")]}))  # fmt: skip
case("RenameIndex", lambda: m.RenameIndex("Item", "named", "by_name"),
     start=lambda: base({"indexes": [d.Index(fields=["name"], name="by_name")]}))  # fmt: skip
case("AddIndexConcurrently", lambda: p.AddIndexConcurrently("Item", d.Index(fields=["name"], name="by_name")))
case("RemoveIndexConcurrently", lambda: p.RemoveIndexConcurrently("Item", "by_name"),
     start=lambda: base({"indexes": [d.Index(fields=["name"], name="by_name")]}))  # fmt: skip
case("index_together comes", lambda: m.AlterIndexTogether("Item", {("name", "number")}), until=(5, 1))

# -- constraints --------------------------------------------------------------------------------------------------
case("AddConstraint unique", constrain(lambda: unique("name")), quick=True)
case("AddConstraint unique, nobody upserts", constrain(lambda: unique("name")), upserts=False, quick=True)
case("AddConstraint unique of two", constrain(lambda: unique("name", "number")))
case("AddConstraint unique deferrable", constrain(lambda: unique("name", deferrable=d.Deferrable.DEFERRED)))
case("AddConstraint unique with a condition", constrain(lambda: unique("name", condition=Q(number__gt=0))))
case(
    "AddConstraint unique of an expression",
    lambda: m.AddConstraint("Item", d.UniqueConstraint(Lower("name"), name="low")),
)
case("AddConstraint unique that rows violate", constrain(lambda: unique("same")),
     start=having(same=lambda: char(choices=[("a", "A")])))  # fmt: skip
if django.VERSION >= (5, 0):
    case("AddConstraint unique nulls_distinct=False", constrain(lambda: unique("note", nulls_distinct=False)),
         start=having(note=lambda: char(null=True)))  # fmt: skip
case("RemoveConstraint unique", unconstrain(), start=constrained(lambda: unique("name")), quick=True)
case(
    "RemoveConstraint unique with a condition",
    unconstrain(),
    start=constrained(lambda: unique("name", condition=Q(number__gt=0))),
)
case("AddConstraint check", constrain(lambda: check(Q(number__lt=10**6))), quick=True)
case("AddConstraint check that always holds", constrain(lambda: check(Q(name__isnull=False))))
case("AddConstraintNotValid", lambda: p.AddConstraintNotValid("Item", check(Q(number__lt=10**6))))
case("AddConstraintNotValid, then ValidateConstraint",
     [lambda: p.AddConstraintNotValid("Item", check(Q(number__lt=10**6)))], [lambda: p.ValidateConstraint("Item", "rule")])  # fmt: skip
case(
    "ValidateConstraint",
    lambda: p.ValidateConstraint("Item", "rule"),
    start=constrained(lambda: check(Q(number__lt=10**6), "rule")),
)
case("RemoveConstraint check", unconstrain("rule"), start=constrained(lambda: check(Q(number__lt=10**6))), quick=True)
case("AddField null=True, then a check of it", add("stock", lambda: d.IntegerField(null=True)),
     constrain(lambda: check(Q(stock__gte=0))))  # fmt: skip
case("AddField null=True, then a check that it is there", add("stock", lambda: d.IntegerField(null=True)),
     constrain(lambda: check(Q(stock__isnull=False) | Q(number__lt=3))), seeds=1)  # fmt: skip


class OwnCheck(d.CheckConstraint):
    """A class of the app's own: what it asks of rows is not known."""


case("AddConstraint of a class of the app's own", constrain(lambda: OwnCheck(
    **{"condition" if django.VERSION >= (5, 1) else "check": Q(number__lt=10**6), "name": "own"})))  # fmt: skip
case("DeleteModel of a table that inherits", lambda: m.DeleteModel("Special"), start=lambda: [*base(), m.CreateModel(
    "Special", [("item_ptr", d.OneToOneField("shop.item", CASCADE, parent_link=True, primary_key=True)), ("extra", char())],
    bases=("shop.item",))])  # fmt: skip
case("AlterField BigAutoField to UUIDField", alter("id", lambda: d.UUIDField(primary_key=True), of="Place"))
case("AlterField of the primary key", alter("code", char, of="Lone"),
     alter("name", lambda: char(primary_key=True), of="Lone"), seeds=1,
     start=lambda: [*base(), m.CreateModel("Lone", [("code", char(primary_key=True)), ("name", char())])])  # fmt: skip
case("an integer goes and a ForeignKey of the same column comes", remove("spot_id"),
     add("spot", lambda: to("Place", null=True, related_name="+")), start=having(spot_id=lambda: d.IntegerField(null=True)))  # fmt: skip
case("a unique constraint is replaced by a wider one", unconstrain(), constrain(lambda: unique("name", "number", name="two")),
     start=constrained(lambda: unique("name")))  # fmt: skip
case("a unique constraint is replaced by a wider one, nobody upserts", unconstrain(),
     constrain(lambda: unique("name", "number", name="two")), start=constrained(lambda: unique("name")), upserts=False)  # fmt: skip
case("a check is replaced by a wider one", unconstrain("rule"), constrain(lambda: check(Q(number__lt=10**7), "rule")),
     start=constrained(lambda: check(Q(number__lt=10**6))))  # fmt: skip


# -- what Django cannot know --------------------------------------------------------------------------------------
def nothing(apps, editor):  # type: ignore[no-untyped-def]
    """A data migration that does nothing."""


case("RunPython noop", lambda: m.RunPython(m.RunPython.noop, m.RunPython.noop), quick=True)
case("RunPython", lambda: m.RunPython(nothing))
case("RunPython declared before", lambda: m.RunPython(nothing), declared="before")
case("RunSQL", lambda: m.RunSQL("SELECT 1"), quick=True)
case("RunSQL noop", lambda: m.RunSQL(m.RunSQL.noop))
case("RunSQL drops a column", lambda: m.RunSQL('ALTER TABLE shop_item DROP COLUMN "number"'))
case("RunSQL drops a column, with its state", lambda: m.RunSQL(
    'ALTER TABLE shop_item DROP COLUMN "number"', state_operations=[m.RemoveField("Item", "number")]))  # fmt: skip
case("SeparateDatabaseAndState, index made concurrently", lambda: m.SeparateDatabaseAndState(
    [p.AddIndexConcurrently("Item", d.Index(fields=["name"], name="x"))],
    [m.AddIndex("Item", d.Index(fields=["name"], name="x"))]))  # fmt: skip
case("SeparateDatabaseAndState, field leaves the state, NOT NULL",
     lambda: m.SeparateDatabaseAndState([], [m.RemoveField("Item", "number")]))  # fmt: skip
case("SeparateDatabaseAndState, field leaves the state, null=True",
     lambda: m.SeparateDatabaseAndState([], [m.RemoveField("Item", "note")]),
     start=having(note=lambda: char(null=True)))  # fmt: skip
case("SeparateDatabaseAndState, column goes that no state has",
     lambda: m.SeparateDatabaseAndState([m.RunSQL('ALTER TABLE shop_item DROP COLUMN "note"')], []), declared="before",
     start=lambda: [*base(None, note=char(null=True)),
                    m.SeparateDatabaseAndState([], [m.RemoveField("Item", "note")])])  # fmt: skip
case("SeparateDatabaseAndState, table under another model", lambda: m.SeparateDatabaseAndState([], [
    m.CreateModel("Thing", [("id", d.BigAutoField(primary_key=True)), ("name", char())], {"db_table": "shop_lone"}),
    m.DeleteModel("Lone")]), start=lambda: [*base(), model("Lone", name=char())])  # fmt: skip
case("SeparateDatabaseAndState, field joins the state alone",
     lambda: m.SeparateDatabaseAndState([], [m.AddField("Item", "note", char(null=True))]))  # fmt: skip


class OwnAddField(m.AddField):
    """A subclass that says the same in its own words: what it does is Django's."""

    def describe(self) -> str:
        return "our own way to add a field"


class Unusual(m.AlterModelOptions):
    """A subclass of something harmless that is not harmless."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):  # type: ignore[no-untyped-def]
        schema_editor.execute('ALTER TABLE shop_item DROP COLUMN "number"')


case("a subclass of AddField, null=True", lambda: OwnAddField("Item", "note", char(null=True)))
case("a subclass of AddField with a default", lambda: OwnAddField("Item", "stock", d.IntegerField(default=0)))
case("a subclass with a database_forwards of its own", lambda: Unusual("Item", {"verbose_name": "x"}))
case("CreateExtension", lambda: p.CreateExtension("citext"))
case("CreateExtension that the server has not", lambda: p.CreateExtension("nowhere"))

# -- several together ---------------------------------------------------------------------------------------------
case("one nullable field comes and one goes", add("note", lambda: char(null=True)), remove("old"),
     start=having(old=lambda: char(null=True)), quick=True)  # fmt: skip
case(
    "the same in two migrations",
    [remove("old")],
    [add("note", lambda: char(null=True))],
    start=having(old=lambda: char(null=True)),
)
case("a field goes and comes back as another type", remove("old"), add("old", lambda: d.IntegerField(null=True)),
     start=having(old=lambda: char(null=True)), quick=True)  # fmt: skip
case("a table goes and comes back as another", lambda: m.DeleteModel("Lone"), lambda: model("Lone", number=d.IntegerField()),
     start=lambda: [*base(), model("Lone", name=char())])  # fmt: skip
case("a field is widened and then narrowed", alter("name", lambda: char(100)), alter("name", lambda: char(20)))
case("NOT NULL in three operations", add("stock", lambda: d.IntegerField(null=True)),
     lambda: m.RunPython(m.RunPython.noop), alter("stock", lambda: d.IntegerField(default=0)))  # fmt: skip
case("AddField null=True, then RunPython declared before", [add("note", lambda: char(null=True))],
     [lambda: m.RunPython(nothing)], declared="before")  # fmt: skip
case("RemoveField, then RunPython declared before", [remove("old")], [lambda: m.RunPython(nothing)],
     start=having(old=lambda: char(null=True)), declared="before")  # fmt: skip
case("AddField and RemoveField of the same within one update", add("tmp", lambda: char(null=True)), remove("tmp"))
case("AddField with a default and RemoveField of the same", add("tmp", lambda: char(default="x")), remove("tmp"))
case("a ForeignKey moves to a new table", [lambda: model("Spot", name=char())],
     [add("spot", lambda: to("Spot", null=True))], [alter("place", lambda: to("Place", null=True, related_name="items"))])  # fmt: skip
case("a unique field becomes another", alter("code", char), alter("name", lambda: char(unique=True)),
     start=having(code=lambda: char(unique=True)))  # fmt: skip
case("an index on a field that is widened", alter("name", lambda: char(90)), index("name"))
case("an index on a field that is narrowed", alter("name", lambda: char(20)), index("name"))
case("remove an index and its field", lambda: m.RemoveIndex("Item", "by_note"), remove("note"),
     start=lambda: base({"indexes": [d.Index(fields=["note"], name="by_note")]}, note=char(null=True)))  # fmt: skip
case("remove a check and its field", unconstrain("rule"), remove("note"),
     start=lambda: base({"constraints": [check(Q(note__isnull=False))]}, note=char(null=True)))  # fmt: skip
