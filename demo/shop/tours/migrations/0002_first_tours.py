# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations

TOURS = [
    ("Blue Coast Walk", "Cinque Terre, Italy", 5, "640.00", "Five villages, one path."),
    ("Harbour Lights", "Lisbon, Portugal", 3, "390.00", "Trams, tiles and the river."),
    ("Fjord Slow Boat", "Bergen, Norway", 7, "1480.00", "The coast at eight knots."),
    ("Desert Stars", "Wadi Rum, Jordan", 4, "720.00", "Camp under a quiet sky."),
    ("Rice and Rain", "Ubud, Bali", 9, "1150.00", "Terraces, temples, kitchens."),
    ("Old Silk Road", "Samarkand, Uzbekistan", 8, "1390.00", "Blue domes by train."),
    ("Volcano Circle", "Reykjavik, Iceland", 6, "1720.00", "Fire below, ice above."),
    ("Tea Country", "Ella, Sri Lanka", 6, "860.00", "Hills by the slow train."),
    ("Island Hopper", "Naxos, Greece", 7, "930.00", "Five ferries, five beaches."),
    ("Andes on Foot", "Cusco, Peru", 10, "1890.00", "The long way to the ruins."),
    ("Cherry Weeks", "Kyoto, Japan", 8, "2240.00", "Gardens in their best week."),
    ("Great Steppe", "Almaty, Kazakhstan", 6, "980.00", "Canyons, horses, apples."),
]


def add_tours(apps, schema_editor):
    Tour = apps.get_model("tours", "Tour")
    fields = ("name", "place", "days", "price", "summary")
    Tour.objects.using(schema_editor.connection.alias).bulk_create(
        Tour(**dict(zip(fields, row, strict=True))) for row in TOURS
    )


class Migration(migrations.Migration):
    dependencies = [("tours", "0001_initial")]
    operations = [migrations.RunPython(add_tours, migrations.RunPython.noop)]
