"""Writes what the gauges send from the queue readings into the database."""
import argparse
import asyncio
import os

import aio_pika

from tidegauge.store import insert_readings


async def main(prefetch):
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=prefetch)
    queue = await channel.declare_queue("readings", durable=True)
    async with queue.iterator() as messages:
        async for message in messages:
            async with message.process(requeue=True):
                await insert_readings(message.body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefetch", type=int, default=50)
    asyncio.run(main(parser.parse_args().prefetch))
