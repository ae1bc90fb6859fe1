"""Drives a VM through QEMU's own QMP library; prints what happened as one JSON object."""
import asyncio
import json
import sys

from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, QMPClient


async def main(path: str, rounds: int) -> None:
    """Pipelines commands, listens to events at the same time, and ends the VM."""
    qmp = QMPClient("baton")
    seen = []

    async def watch(listener: EventListener) -> None:
        async for event in listener:
            seen.append(event["event"])

    listener = EventListener()
    qmp.register_listener(listener)
    watcher = asyncio.create_task(watch(listener))
    await qmp.connect(path)

    commands = ["stop", "query-status", "cont", "query-status"] * rounds
    answers = await asyncio.gather(*[qmp.execute(command) for command in commands])
    listed = [command["name"] for command in await qmp.execute("query-commands")]
    text = await qmp.execute("human-monitor-command", {"command-line": "info status"})

    errors = {}
    for command, arguments in (
        ("nope", None),
        ("set_link", {"name": "net9", "up": True}),
        ("query-balloon", None),
        ("stop", {"now": True}),
    ):
        try:
            await qmp.execute(command, arguments)
        except ExecuteError as error:
            errors[command] = [error.error_class, str(error)]

    # Ids of one's own, one after the other without waiting.
    ids = [json.dumps([number, {"text": "\u00e9"}]) for number in range(rounds)]
    echoed = [
        reply["id"]
        for reply in await asyncio.gather(
            *[qmp._raw({"execute": "query-name", "id": one}, assign_id=False) for one in ids]
        )
    ]

    while len(seen) < 2 * rounds:
        await asyncio.sleep(0.01)
    before = list(seen)
    try:
        await qmp.execute("quit")
        await qmp.disconnect()
    except (EOFError, ExecInterruptedError):
        pass
    watcher.cancel()
    print(
        json.dumps(
            {
                "greeting": qmp.greeting._asdict(),
                "states": [answer.get("status") for answer in answers],
                "listed": listed,
                "text": text,
                "errors": errors,
                "ids": ids == echoed,
                "events": before,
            }
        )
    )


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
