import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lantern.settings")
app = Celery("lantern")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "refresh index": {"task": "search.refresh", "schedule": crontab(minute="*/20")},
    "walk reminders": {"task": "walks.remind", "schedule": crontab(hour=7, minute=0)},
}
