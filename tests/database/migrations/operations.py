# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of one table that nearly each test of migrations begins with, as the text of a migration's file."""

from __future__ import annotations

ITEM = (
    '("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50)), '
    '("old", models.CharField(max_length=9, null=True))'
)
CREATE = f'migrations.CreateModel("Item", [{ITEM}])'
NOTE = 'migrations.AddField("item", "note", models.CharField(max_length=9, null=True))'
REMOVE = 'migrations.RemoveField("item", "old")'
INDEX = 'migrations.AddIndex("item", models.Index(fields=["name"], name="by_name"))'
