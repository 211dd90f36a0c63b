import os

REDIS_URL = os.environ["RQ_URL"]
NAME = None
