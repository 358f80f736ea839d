"""Other tasks run while more messages wait at a socket than are ever read."""

import asyncio

import zmq
import zmq.asyncio

from serve.turns import take_turns

MESSAGES = 200


async def ticks_while_reading(fair: bool) -> int:
    """How often another task runs while a backlog is read."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    with (
        zmq.asyncio.Context() as context,
        context.socket(zmq.PULL) as pull,
        context.socket(zmq.PUSH) as push,
    ):
        pull.bind("inproc://outputs")
        push.connect("inproc://outputs")
        if fair:
            take_turns(pull)
        for number in range(MESSAGES):
            await push.send_multipart([str(number).encode()])
        ticker = asyncio.create_task(tick())
        read = [(await pull.recv_multipart())[0] for _ in range(MESSAGES)]
        ticker.cancel()
    assert read == [str(number).encode() for number in range(MESSAGES)]
    return ticks


def test_a_backlog_of_outputs_leaves_turns_to_other_tasks() -> None:
    assert asyncio.run(ticks_while_reading(fair=True)) >= MESSAGES - 1


def test_without_it_zmq_reads_on() -> None:
    """What the engine's outputs do otherwise: when this fails, `serve/turns.py` is no longer needed."""
    assert asyncio.run(ticks_while_reading(fair=False)) < MESSAGES // 10
