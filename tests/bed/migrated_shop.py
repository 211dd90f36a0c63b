# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the demo shop whose migrations change the very table that orders are written to."""

from __future__ import annotations

from pathlib import Path

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
#: Fields that a version has beside those of the demo.
NOTE = "    note = models.CharField(max_length=80, null=True)\n"
CHANNEL = "    channel = models.CharField(max_length=20, null=True)\n"
CONTACT = "    contact = models.EmailField(null=True)\n"
_INDEXED = "    email = models.EmailField(db_index=True)\n"


def _models(fields: str, first: str = _FIELD) -> str:
    text = (ROOT / "demo/shop/tours/models.py").read_text(encoding="utf-8")
    assert _FIELD in text
    return text.replace(_FIELD, first + fields, 1)


def _commit(shop: Shop, tag: str, parent: str, models: str, name: str = "", after: str = "", *operations: str) -> None:
    files = {"shop/version.py": f'VERSION = "{tag}"\n', "tours/models.py": models}
    if name:
        text = _MIGRATION.format(after=after, operations=",\n        ".join(operations))
        files[f"tours/migrations/{name}.py"] = text
    add_commit(Path(shop.repository), files, tag, parent)


def commit_versions(shop: Shop) -> None:
    """m1 has a note; m2 has none, but a channel, and an index on the big table; m3 is code alone.

    m4 has an address of another name beside the first, and m5 asks each order for a channel.
    """
    field = "models.CharField(max_length={}, null=True)"
    _commit(shop, "m1", "v2", _models(NOTE), "0003_note", "0002_first_tours",
            f'migrations.AddField("order", "note", {field.format(80)})')  # fmt: skip
    _commit(shop, "m2", "m1", _models(CHANNEL, _INDEXED), "0004_channel", "0003_note",
            'migrations.RemoveField("order", "note")', f'migrations.AddField("order", "channel", {field.format(20)})',
            'migrations.AlterField("order", "email", models.EmailField(db_index=True, max_length=254))')  # fmt: skip
    _commit(shop, "m3", "m2", _models(CHANNEL, _INDEXED))
    _commit(shop, "m4", "m3", _models(CHANNEL + CONTACT, _INDEXED), "0005_contact", "0004_channel",
            'migrations.AddField("order", "contact", models.EmailField(max_length=254, null=True))')  # fmt: skip
    filled = CHANNEL.replace("null=True", 'default="web"')
    _commit(shop, "m5", "m4", _models(filled + CONTACT, _INDEXED), "0006_channel", "0005_contact",
            'migrations.AlterField("order", "channel", models.CharField(default="web", max_length=20))')  # fmt: skip


def sql(shop: Shop, statement: str) -> str:
    """What the database itself answers."""
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "shop", "-d", "shop", "-At", "-c", statement]
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
