import multiprocessing
import os

bind = ["0.0.0.0:8080"]
workers = int(os.getenv("WEB_CONCURRENCY", multiprocessing.cpu_count() * 2 + 1))
worker_tmp_dir = "/dev/shm"
graceful_timeout = 40
timeout = 60
