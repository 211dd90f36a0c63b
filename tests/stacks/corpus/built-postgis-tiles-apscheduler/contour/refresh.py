from apscheduler.schedulers.blocking import BlockingScheduler

clock = BlockingScheduler()
clock.add_job("contour.tiles:refresh", "cron", hour=3)
clock.start()
