import asyncio

import nats


async def main():
    client = await nats.connect("nats://nats:4222")
    queue = await client.jetstream().pull_subscribe("alerts.*", durable="mailer")
    while True:
        for message in await queue.fetch(1, timeout=None):
            await message.ack()


asyncio.run(main())
