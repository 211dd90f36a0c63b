"""Sends the periodic messages."""
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger

from tidegauge import actors


def main():
    scheduler = BlockingScheduler(timezone="UTC")
    scheduler.add_job(actors.predict_tides.send, CronTrigger.from_crontab("5 */6 * * *"))
    scheduler.add_job(actors.warn_high_water.send, "interval", minutes=10)
    scheduler.start()


if __name__ == "__main__":
    main()
