import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["AMQP_URL"]))


@dramatiq.actor
def predict_tides():
    ...


@dramatiq.actor
def warn_high_water():
    ...


@dramatiq.actor(queue_name="exports", time_limit=600_000)
def export_station(station):
    ...
