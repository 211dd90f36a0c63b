# SPDX-License-Identifier: GPL-3.0-or-later
import django.db.models.deletion
from django.db import migrations, models


def add_tours(apps, schema_editor):
    for number in range(1, 13):
        apps.get_model("bookings", "Tour").objects.create(name=f"Tour {number}")


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Tour",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
            ],
        ),
        migrations.CreateModel(
            "Booking",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(db_index=True, max_length=64)),
                ("email", models.EmailField(max_length=254)),
                ("tour", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="bookings.tour")),
            ],
        ),
        migrations.CreateModel(
            "Mail",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("booking", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="bookings.booking")),
            ],
        ),
        migrations.RunPython(add_tours, migrations.RunPython.noop),
    ]
