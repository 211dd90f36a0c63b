# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the demo shop whose migrations change the very table that orders are written to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from demo.repository import add_commit
from tests.bed.shop import ROOT, Shop, run

_MIGRATION = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tours", "{after}")]
    operations = [
        {operations},
    ]
"""
_FIELD = "    email = models.EmailField()\n"
_SLOT = "    slot = models.BigIntegerField(db_index=True)\n"
#: Fields that a version has beside those of the demo.
NOTE = "    note = models.CharField(max_length=80, null=True)\n"
CHANNEL = "    channel = models.CharField(max_length=20, null=True)\n"
CONTACT = "    contact = models.EmailField(null=True)\n"
_REQUIRED = "    contact = models.EmailField()\n"
_INDEXED = "    email = models.EmailField(db_index=True)\n"
_BOTH = """
    def save(self, *arguments, **more):
        self.contact = self.email
        super().save(*arguments, **more)

"""
# Twenty thousand rows of years, as docs/migrations.md has it.
_MOVE = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models

evenkeel_phase = "between"


def batches(apps, schema_editor, after):
    orders = apps.get_model("tours", "Order").objects.using(schema_editor.connection.alias)
    after, last = after or 0, orders.aggregate(last=models.Max("pk"))["last"] or 0
    while after < last:
        rows = orders.filter(pk__gt=after, pk__lte=after + 20000, contact=None)
        rows.update(contact=models.F("email"))
        after += 20000
        yield after


def fill(apps, schema_editor):
    for _batch in batches(apps, schema_editor, None):
        pass


fill.evenkeel_batches = batches


class Migration(migrations.Migration):
    dependencies = [("tours", "0005_contact")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
"""
FIELDS_OF_FORM = """        fields = ["tour", "reference", "email"]
"""
RENAMED_FORM = """        fields = ["tour", "reference"]

    email = forms.EmailField()

    def save(self, commit=True):
        self.instance.contact = self.cleaned_data["email"]
        return super().save(commit)
"""


def models_of(fields: str, first: str = _FIELD, methods: str = "") -> str:
    """The demo's models with further fields of an order, with others in the place of its address, and with methods."""
    text = (ROOT / "demo/shop/tours/models.py").read_text(encoding="utf-8")
    assert _FIELD in text
    text = text.replace(_FIELD, first + fields, 1)
    return text.replace("    def __str__(self) -> str:\n        return self.reference\n",
                        f"{methods}    def __str__(self) -> str:\n        return self.reference\n")  # fmt: skip


class HasRepository(Protocol):
    """A bed with a repository of its own."""

    repository: Path


def commit(
    shop: HasRepository, tag: str, parent: str, models: str, name: str = "", after: str = "", *operations: str,
    files: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Add a version with these models, and a migration where it is named, which follows another."""
    changed = {"shop/version.py": f'VERSION = "{tag}"\n', "tours/models.py": models, **(files or {})}
    if name:
        text = _MIGRATION.format(after=after, operations=",\n        ".join(operations))
        changed[f"tours/migrations/{name}.py"] = text
    add_commit(Path(shop.repository), changed, tag, parent)


def commit_versions(shop: Shop) -> None:
    """m1 has a note; m2 has none, but a channel, and an index on the big table; m3 is code alone.

    m4 writes the address under another name too and copies those of years, m5 asks each order for a channel, m6 knows
    the address by its new name alone, which it asks of each order, m7 is code alone, m8 has a note again.
    """
    field = "models.CharField(max_length={}, null=True)"
    commit(shop, "m1", "v2", models_of(NOTE), "0003_note", "0002_first_tours",
           f'migrations.AddField("order", "note", {field.format(80)})')  # fmt: skip
    commit(shop, "m2", "m1", models_of(CHANNEL, _INDEXED), "0004_channel", "0003_note",
           'migrations.RemoveField("order", "note")', f'migrations.AddField("order", "channel", {field.format(20)})',
           'migrations.AlterField("order", "email", models.EmailField(db_index=True, max_length=254))')  # fmt: skip
    commit(shop, "m3", "m2", models_of(CHANNEL, _INDEXED))
    commit(shop, "m4", "m3", models_of(CHANNEL + CONTACT, _INDEXED, _BOTH), "0005_contact", "0004_channel",
           'migrations.AddField("order", "contact", models.EmailField(max_length=254, null=True))',
           files={"tours/migrations/0006_copy.py": _MOVE})  # fmt: skip
    filled = CHANNEL.replace("null=True", 'default="web"')
    commit(shop, "m5", "m4", models_of(filled + CONTACT, _INDEXED, _BOTH), "0007_channel", "0006_copy",
           'migrations.AlterField("order", "channel", models.CharField(default="web", max_length=20))')  # fmt: skip
    forms = renamed_forms()
    commit(shop, "m6", "m5", models_of(filled + _REQUIRED, ""), "0008_contact", "0007_channel",
           'migrations.AlterField("order", "contact", models.EmailField(max_length=254))',
           'migrations.AlterField("order", "email", models.EmailField(db_index=True, max_length=254, null=True))',
           'migrations.RemoveField("order", "email")', files=forms)  # fmt: skip
    commit(shop, "m7", "m6", models_of(filled + _REQUIRED, ""), files=forms)
    commit(shop, "m8", "m7", models_of(filled + _REQUIRED + NOTE, ""), "0009_note", "0008_contact",
           f'migrations.AddField("order", "note", {field.format(80)})', files=forms)  # fmt: skip


def renamed_forms() -> dict[str, str]:
    """The files that know an order's address as its contact, beside the models."""
    form = (ROOT / "demo/shop/tours/forms.py").read_text(encoding="utf-8")
    assert FIELDS_OF_FORM in form
    admin = (ROOT / "demo/shop/tours/admin.py").read_text(encoding="utf-8")
    return {
        "tours/forms.py": form.replace(FIELDS_OF_FORM, RENAMED_FORM),
        "tours/admin.py": admin.replace('"email"', '"contact"'),
    }


def sql(shop: Shop, statement: str, database: str = "shop") -> str:
    """What the database itself answers."""
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "shop", "-d", database, "-At", "-c", statement]
    return run(["docker", "exec", shop.container("db"), *psql]).strip()


def columns(shop: Shop) -> list[str]:
    """The columns of the orders."""
    found = sql(
        shop,
        "SELECT attname FROM pg_attribute WHERE attrelid = 'tours_order'::regclass AND attnum > 0 AND NOT attisdropped",
    )
    return sorted(found.split())


def fill(shop: Shop, rows: int) -> None:
    """Orders of years, written by the database itself."""
    sql(
        shop,
        "INSERT INTO tours_order (tour_id, reference, email, created_at) SELECT (SELECT min(id) FROM tours_tour), "
        f"'old-' || n, 'somebody-' || n || '@example.com', now() FROM generate_series(1, {rows}) n",
    )
    sql(shop, "VACUUM ANALYZE tours_order")


def named(table: str) -> str:
    """The demo's models, with another table for its heartbeats, which neither code survives."""
    text = models_of("")
    assert _SLOT in text
    return text.replace(_SLOT, f'    class Meta:\n        db_table = "{table}"\n\n{_SLOT}')


def renamed(table: str) -> str:
    """The operation that gives that table its name."""
    return f'migrations.AlterModelTable("heartbeat", "{table}")'


def sleeping(seconds: int) -> str:
    """The operation that takes so many seconds."""
    return f'migrations.RunSQL("SELECT pg_sleep({seconds})", migrations.RunSQL.noop)'
