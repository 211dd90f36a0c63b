# lifespan(): if SCHEDULER_ENABLED == "1": AsyncIOScheduler().add_job(send_reminders, "interval", minutes=5); .start()
