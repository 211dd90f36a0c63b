# BlockingScheduler().add_job(rollup, "cron", minute=5); .start()
