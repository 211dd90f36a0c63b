# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases: fields that come, go, and change."""

from __future__ import annotations

import uuid

import django
from django.db import connection
from django.db import migrations as m
from django.db import models as d
from django.db.models import functions
from django.utils import timezone
from module_utils.migrations.inside import catalogue

from tests.database.migrations.cases import add, alter, base, case, char, constrained, having, model, remove, to, unique


def collation_of_database() -> str:
    """The name of a collation that the database has anyway."""
    return min(catalogue.own_collations(connection))


# -- fields that come ---------------------------------------------------------------------------------------------
case("AddField null=True", add("note", lambda: char(null=True)), quick=True)
case("AddField null=True with a default", add("note", lambda: char(null=True, default="x")))
case("AddField with a default", add("stock", lambda: d.IntegerField(default=0)), quick=True)
case("AddField with a default that is a function", add("token", lambda: d.UUIDField(default=uuid.uuid4)))
case("AddField blank text without a default", add("note", lambda: d.TextField(blank=True)))
case("AddField boolean with a default", add("hidden", lambda: d.BooleanField(default=False)))
case("AddField with a one-off default", add("stock", lambda: d.IntegerField(default=1), preserve_default=False))
case("AddField auto_now_add with a one-off default",
     add("made", lambda: d.DateTimeField(auto_now_add=True, default=timezone.now), preserve_default=False))  # fmt: skip
case("AddField with db_default", add("stock", lambda: d.IntegerField(db_default=0)), since=(5, 0), quick=True)
case(
    "AddField with default and db_default", add("stock", lambda: d.IntegerField(default=7, db_default=0)), since=(5, 0)
)
case("AddField db_default Now()", add("made", lambda: d.DateTimeField(db_default=functions.Now())), since=(5, 0))
case("AddField db_default Random()", add("chance", lambda: d.FloatField(db_default=functions.Random())), since=(5, 0))
case("AddField unique and null=True", add("code", lambda: char(null=True, unique=True)), quick=True)
case("AddField unique with a default, table of many rows", add("code", lambda: char(default="x", unique=True)))
case("AddField unique with a default, table of one row", add("code", lambda: char(default="x", unique=True)), seeds=1)
case(
    "AddField unique with db_default, one row",
    add("code", lambda: char(db_default="x", unique=True)),
    since=(5, 0),
    seeds=1,
)
case("AddField NOT NULL without a default, rows", add("stock", d.IntegerField))
case("AddField NOT NULL without a default, no rows", add("stock", d.IntegerField, of="Place"), seeds=0)
case("AddField db_index null=True", add("note", lambda: char(null=True, db_index=True)))
case("AddField text with db_index, null=True", add("note", lambda: d.TextField(null=True, db_index=True)))
case("AddField ForeignKey null=True", add("other", lambda: to("Place", null=True, related_name="+")), quick=True)
case("AddField ForeignKey null=True SET_NULL",
     add("other", lambda: to("Place", null=True, on_delete=d.SET_NULL, related_name="+")))  # fmt: skip
case("AddField ForeignKey PROTECT null=True",
     add("other", lambda: to("Place", null=True, on_delete=d.PROTECT, related_name="+")))  # fmt: skip
case("AddField ForeignKey db_constraint=False, null=True",
     add("other", lambda: to("Place", null=True, db_constraint=False, related_name="+")))  # fmt: skip
case("AddField ForeignKey to itself", add("parent", lambda: to("Item", null=True)))
case(
    "AddField OneToOneField null=True",
    add("only", lambda: d.OneToOneField("shop.Place", d.CASCADE, null=True, related_name="+")),
)
case("AddField ManyToManyField", add("tags", lambda: d.ManyToManyField("shop.Place", related_name="+")), quick=True)
case("AddField ManyToManyField to itself", add("friends", lambda: d.ManyToManyField("shop.Item")))
case("AddField PositiveIntegerField null=True", add("stock", lambda: d.PositiveIntegerField(null=True)))
case("AddField JSONField with a default", add("data", lambda: d.JSONField(default=dict)))
case("AddField JSONField null=True", add("data", lambda: d.JSONField(null=True)))
case(
    "AddField DecimalField with a default",
    add("price", lambda: d.DecimalField(max_digits=8, decimal_places=2, default=0)),
)
case("AddField ForeignKey with a default", add("other", lambda: to("Place", default=1, related_name="+")))
case("AddField PositiveIntegerField with a default and an index",
     add("stock", lambda: d.PositiveIntegerField(default=1, db_index=True)))  # fmt: skip
if django.VERSION >= (5, 0):
    case("AddField GeneratedField of lower()", add("low", lambda: d.GeneratedField(
        expression=functions.Lower("name"), output_field=d.TextField(), db_persist=True)))  # fmt: skip
    case("AddField GeneratedField of a product", add("double", lambda: d.GeneratedField(
        expression=d.F("number") * 2, output_field=d.IntegerField(), db_persist=True)))  # fmt: skip
    case("AddField GeneratedField into a short column", add("low", lambda: d.GeneratedField(
        expression=functions.Concat("name", "name"), output_field=char(60), db_persist=True)))  # fmt: skip

# -- fields that go -----------------------------------------------------------------------------------------------
case("RemoveField null=True", remove("note"), start=having(note=lambda: char(null=True)), quick=True)
case("RemoveField NOT NULL", remove("number"), quick=True)
case("RemoveField NOT NULL with default", remove("stock"), start=having(stock=lambda: d.IntegerField(default=3)))
case(
    "RemoveField with db_default",
    remove("stock"),
    start=having(stock=lambda: d.IntegerField(db_default=3)),
    since=(5, 0),
)
case("RemoveField unique with db_default", remove("stock"), since=(5, 0), seeds=1,
     start=having(stock=lambda: d.IntegerField(db_default=3, unique=True)))  # fmt: skip
case("RemoveField null=True unique", remove("code"), start=having(code=lambda: char(null=True, unique=True)))
case("RemoveField null=True with an index", remove("note"), start=having(note=lambda: char(null=True, db_index=True)))
case("RemoveField ForeignKey null=True", remove("other"), quick=True,
     start=having(other=lambda: to("Place", null=True, related_name="+")))  # fmt: skip
case("RemoveField ForeignKey NOT NULL", remove("place"))
case("RemoveField ForeignKey null=True db_constraint=False", remove("other"),
     start=having(other=lambda: to("Place", null=True, related_name="+", db_constraint=False)))  # fmt: skip
case("RemoveField ForeignKey to itself", remove("parent"), start=having(parent=lambda: to("Item", null=True)))
case(
    "RemoveField ManyToManyField",
    remove("tags"),
    start=having(tags=lambda: d.ManyToManyField("shop.Place", related_name="+")),
)
if django.VERSION >= (5, 0):
    case("RemoveField GeneratedField", remove("low"), start=having(low=lambda: d.GeneratedField(
        expression=functions.Lower("name"), output_field=d.TextField(), db_persist=True)))  # fmt: skip
case(
    "AlterField null=True, then RemoveField",
    alter("number", lambda: d.IntegerField(null=True)),
    remove("number"),
    quick=True,
)
case("AlterField null=True of a ForeignKey, then RemoveField",
     alter("place", lambda: to("Place", null=True, related_name="items")), remove("place"))  # fmt: skip
case("AlterField null=True and db_constraint=False, then RemoveField",
     alter("place", lambda: to("Place", null=True, db_constraint=False, related_name="items")), remove("place"))  # fmt: skip

# -- names --------------------------------------------------------------------------------------------------------
case("RenameField", lambda: m.RenameField("Item", "number", "amount"), quick=True)
case(
    "RenameField null=True", lambda: m.RenameField("Item", "note", "remark"), start=having(note=lambda: char(null=True))
)
case("RenameField of a ForeignKey", lambda: m.RenameField("Item", "place", "spot"))
case("RenameField that keeps its column",
     alter("number", lambda: d.IntegerField(db_column="number")), lambda: m.RenameField("Item", "number", "amount"))  # fmt: skip
case("AlterField db_column, then RenameField that keeps it",
     alter("number", lambda: d.IntegerField(db_column="n")), lambda: m.RenameField("Item", "number", "amount"))  # fmt: skip
case("RenameField, then AlterField back to its column", lambda: m.RenameField("Item", "number", "amount"),
     alter("amount", lambda: d.IntegerField(db_column="number")))  # fmt: skip
case("RenameField, then AlterField db_column", lambda: m.RenameField("Item", "number", "amount"),
     alter("amount", lambda: d.IntegerField(db_column="n")))  # fmt: skip
case("RenameField of a ManyToManyField", lambda: m.RenameField("Item", "tags", "labels"),
     start=having(tags=lambda: d.ManyToManyField("shop.Place", related_name="+")))  # fmt: skip
case("RenameField of a ManyToManyField, nobody upserts", lambda: m.RenameField("Item", "tags", "labels"), upserts=False,
     start=having(tags=lambda: d.ManyToManyField("shop.Place", related_name="+")))  # fmt: skip
case("AlterField db_column", alter("number", lambda: d.IntegerField(db_column="n")))
case("AlterField db_column with a constraint", alter("number", lambda: d.PositiveIntegerField(db_column="n")),
     start=lambda: [model("Item", name=char(), number=d.PositiveIntegerField())])  # fmt: skip
case("RenameField with an index", lambda: m.RenameField("Item", "code", "sign"),
     start=having(code=lambda: char(db_index=True)))  # fmt: skip
case("RenameField unique", lambda: m.RenameField("Item", "code", "sign"), start=having(code=lambda: char(unique=True)))
case("RenameField with db_default", lambda: m.RenameField("Item", "stock", "rest"), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(db_default=3)))  # fmt: skip
case("RenameField with db_default, null=True", lambda: m.RenameField("Item", "stock", "rest"), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(db_default=3, null=True)))  # fmt: skip
case(
    "RenameField of two",
    lambda: m.RenameField("Item", "number", "amount"),
    lambda: m.RenameField("Item", "name", "title"),
)
case("AddField with a default, then RenameField of another",
     add("stock", lambda: d.IntegerField(default=3)), lambda: m.RenameField("Item", "name", "title"))  # fmt: skip
case("RemoveField of two NOT NULL", remove("number"), remove("name"))
case("RemoveField JSONField NOT NULL", remove("data"), start=having(data=d.JSONField))
case("RemoveField DateTimeField NOT NULL", remove("at"), start=having(at=d.DateTimeField))
case("RemoveField UUIDField NOT NULL", remove("token"), start=having(token=d.UUIDField))
case("RemoveField with a check", remove("rank"), start=having(rank=d.PositiveIntegerField))

# -- null and defaults --------------------------------------------------------------------------------------------
case(
    "AlterField null=True to NOT NULL",
    alter("note", char),
    start=having(note=lambda: char(null=True)),
    quick=True,
)
case("AlterField null=True to NOT NULL with a default", alter("note", lambda: char(default="")),
     start=having(note=lambda: char(null=True)))  # fmt: skip
case("AlterField to null=True", alter("number", lambda: d.IntegerField(null=True)), quick=True)
case("AlterField default", alter("number", lambda: d.IntegerField(default=5)), quick=True)
case("AlterField db_default comes", alter("number", lambda: d.IntegerField(db_default=5)), since=(5, 0))
case("AlterField db_default goes", alter("stock", d.IntegerField), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(db_default=3)))  # fmt: skip
case("AlterField db_default goes, default comes", alter("stock", lambda: d.IntegerField(default=3)), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(db_default=3)))  # fmt: skip
case("AlterField db_default is another", alter("stock", lambda: d.IntegerField(db_default=4)), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(db_default=3)))  # fmt: skip
case("AlterField null=True db_default comes", alter("note", lambda: char(null=True, db_default="x")), since=(5, 0),
     start=having(note=lambda: char(null=True)))  # fmt: skip
case("AlterField default to db_default", alter("stock", lambda: d.IntegerField(db_default=3)), since=(5, 0),
     start=having(stock=lambda: d.IntegerField(default=3)))  # fmt: skip

# -- types --------------------------------------------------------------------------------------------------------
case("AlterField varchar(50) to varchar(100)", alter("name", lambda: char(100)), quick=True)
case("AlterField varchar(50) to varchar(20)", alter("name", lambda: char(20)), quick=True)
case("AlterField varchar to text", alter("name", d.TextField))
case("AlterField text to varchar(100)", alter("body", lambda: char(100)), start=having(body=d.TextField))
case("AlterField varchar to varchar without length", alter("name", d.CharField), since=(4, 2), until=(4, 2))
case("AlterField int to bigint", alter("number", d.BigIntegerField), quick=True)
case("AlterField bigint to int", alter("number", d.IntegerField),
     start=lambda: [model("Item", number=d.BigIntegerField(), name=char())])  # fmt: skip
case(
    "AlterField smallint to int",
    alter("rank", d.IntegerField),
    start=having(rank=d.SmallIntegerField),
)
case("AlterField int to smallint", alter("number", d.SmallIntegerField))
case("AlterField int to PositiveIntegerField", alter("number", d.PositiveIntegerField))
case("AlterField PositiveIntegerField to int", alter("rank", d.IntegerField),
     start=having(rank=d.PositiveIntegerField))  # fmt: skip
case("AlterField int to text", alter("number", lambda: char(20)))
case("AlterField varchar to int", alter("code", d.IntegerField), seeds=0, start=having(code=lambda: char(9)))
case("AlterField int to numeric", alter("number", lambda: d.DecimalField(max_digits=12, decimal_places=2)))
case("AlterField int to double", alter("number", d.FloatField))
case("AlterField numeric(8,2) to numeric(10,2)", alter("price", lambda: d.DecimalField(max_digits=10, decimal_places=2)),
     start=having(price=lambda: d.DecimalField(max_digits=8, decimal_places=2)))  # fmt: skip
case("AlterField numeric(8,2) to numeric(10,4)", alter("price", lambda: d.DecimalField(max_digits=10, decimal_places=4)),
     start=having(price=lambda: d.DecimalField(max_digits=8, decimal_places=2)))  # fmt: skip
case("AlterField numeric(10,2) to numeric(8,2)", alter("price", lambda: d.DecimalField(max_digits=8, decimal_places=2)),
     start=having(price=lambda: d.DecimalField(max_digits=10, decimal_places=2)))  # fmt: skip
case("AlterField date to timestamp", alter("day", d.DateTimeField), start=having(day=d.DateField))
case("AlterField varchar to uuid", alter("code", d.UUIDField), seeds=0, start=having(code=lambda: char(36)))
case(
    "AlterField boolean to int",
    alter("hidden", d.IntegerField),
    start=having(hidden=d.BooleanField),
)
case("AlterField AutoField to BigAutoField", alter("id", lambda: d.BigAutoField(primary_key=True), of="Place"),
     start=lambda: [model("Place", id=d.AutoField(primary_key=True), name=char()), *base()[1:]])  # fmt: skip
case("AlterField BigAutoField to AutoField", alter("id", lambda: d.AutoField(primary_key=True), of="Place"))
case("AlterField to SlugField of the same length", alter("name", lambda: d.SlugField(max_length=50, db_index=False)))
case("AlterField choices and help_text", alter("name", lambda: char(choices=[("a", "A")], help_text="which")))
case("AddField with a collation", add("note", lambda: char(null=True, db_collation="und-x-icu")))
case(
    "AlterField db_collation to the one of the database",
    alter("name", lambda: char(db_collation=collation_of_database())),
)
case("AlterField db_collation", alter("name", lambda: char(db_collation="und-x-icu")))
case("AlterField db_comment", alter("name", lambda: char(db_comment="a name")))

# -- relations ----------------------------------------------------------------------------------------------------
case("AlterField ForeignKey to null=True", alter("place", lambda: to("Place", null=True, related_name="items")))
case("AlterField ForeignKey on_delete", alter("place", lambda: to("Place", on_delete=d.PROTECT, related_name="items")))
case(
    "AlterField ForeignKey db_constraint goes",
    alter("place", lambda: to("Place", db_constraint=False, related_name="items")),
)
case("AlterField ForeignKey db_constraint comes", alter("other", lambda: to("Place", null=True, related_name="+")),
     start=having(other=lambda: to("Place", null=True, db_constraint=False, related_name="+")))  # fmt: skip
case("AlterField ForeignKey to OneToOneField",
     alter("place", lambda: d.OneToOneField("shop.Place", d.CASCADE, related_name="items")), seeds=1)  # fmt: skip
case("AlterField OneToOneField to ForeignKey", alter("only", lambda: to("Place", null=True, related_name="+")),
     start=having(only=lambda: d.OneToOneField("shop.Place", d.CASCADE, null=True, related_name="+")))  # fmt: skip
case("AlterField ForeignKey to another table", alter("place", lambda: to("Spot")),
     start=lambda: [model("Spot", name=char()), *base()])  # fmt: skip
case("AlterField integer to ForeignKey", alter("place_id", lambda: to("Place", db_column="place_id", null=True)), seeds=0,
     start=lambda: [base()[0], model("Item", name=char(), place_id=d.BigIntegerField(null=True))])  # fmt: skip
case("AlterField ForeignKey db_index goes", alter("place", lambda: to("Place", db_index=False, related_name="items")))
if django.VERSION >= (6, 1):
    case("AlterField on_delete CASCADE to DB_CASCADE",
         alter("place", lambda: to("Place", on_delete=d.DB_CASCADE, related_name="items")))  # fmt: skip
    case("AlterField on_delete DB_CASCADE to CASCADE", alter("owner", lambda: to("Place", related_name="+")),
         start=lambda: [model("Place", name=char()),
                        model("Item", name=char(), owner=to("Place", on_delete=d.DB_CASCADE, related_name="+"))])  # fmt: skip

# -- unique, by fields --------------------------------------------------------------------------------------------
case("AlterField unique comes", alter("name", lambda: char(unique=True)), quick=True)
case("AlterField unique comes, nobody upserts", alter("name", lambda: char(unique=True)), upserts=False)
case("AlterField unique goes", alter("code", char), start=having(code=lambda: char(unique=True)), quick=True)
case("AlterField db_index comes", alter("name", lambda: char(db_index=True)))
case(
    "AlterField db_index comes on text",
    alter("body", lambda: d.TextField(db_index=True)),
    start=having(body=d.TextField),
)
case("AlterField db_index goes", alter("code", char), start=having(code=lambda: char(db_index=True)))
case("unique_together comes", lambda: m.AlterUniqueTogether("Item", {("name", "number")}))
case("unique_together goes", lambda: m.AlterUniqueTogether("Item", set()),
     start=lambda: base({"unique_together": {("name", "number")}}))  # fmt: skip
case("RemoveField null=True of a unique_together", lambda: m.AlterUniqueTogether("Item", set()), remove("note"),
     start=lambda: base({"unique_together": {("name", "note")}}, note=char(null=True)))  # fmt: skip
case("AddField db_default, then unique with it", add("stock", lambda: d.IntegerField(db_default=0)),
     lambda: m.AddConstraint("Item", unique("stock")), since=(5, 0), seeds=1)  # fmt: skip
case("AddField null=True, then unique with it", add("code", lambda: char(null=True)),
     lambda: m.AddConstraint("Item", unique("code")))  # fmt: skip
case("unique_together becomes a constraint", lambda: m.AlterUniqueTogether("Item", set()),
     lambda: m.AddConstraint("Item", unique("name", "number")), start=lambda: base({"unique_together": {("name", "number")}}))  # fmt: skip
case("unique_together becomes a constraint, in two migrations", [lambda: m.AddConstraint("Item", unique("name", "number"))],
     [lambda: m.AlterUniqueTogether("Item", set())], start=lambda: base({"unique_together": {("name", "number")}}))  # fmt: skip
case("unique over what is unique already", lambda: m.AddConstraint("Item", unique("name", "number", name="both")),
     start=constrained(lambda: unique("name")))  # fmt: skip
