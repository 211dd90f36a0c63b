import os

from arq.connections import RedisSettings

from millrace.gauges import shrink_picture, write_export


class Settings:
    functions = [shrink_picture, write_export]
    redis_settings = RedisSettings.from_dsn(os.environ["ARQ_REDIS"])
    max_jobs = 6
    job_timeout = 75
