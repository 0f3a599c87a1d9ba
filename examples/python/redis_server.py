"""Serves calc over Redis until SIGTERM. Any number of these may serve one queue."""

import os
import signal
import sys
import threading

import redis

import calc

queue = os.environ.get("QUEUE", "calc")
broker = redis.Redis.from_url(os.environ["BROKER_URL"])
broker.ping()  # fails at once if there is no Redis
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", file=sys.stderr)

while not stop.is_set():
    popped = broker.brpop(queue, timeout=1)  # the oldest request, or None after a second
    if not popped:
        continue
    message = calc.read(popped[1])
    first = calc.requests(message)[0]  # whose reply_to and deadline_ms count for a whole batch
    reply_list = calc.address(first.get("reply_to"), calc.string_id(message))
    if reply_list in (None, queue) and calc.wants_answer(message):
        print("no reply list:", popped[1], file=sys.stderr)
        continue
    deadline = first.get("deadline_ms")  # by the clock of Redis
    if type(deadline) in (int, float) and 0 < deadline < broker.time()[0] * 1000:
        continue  # nobody waits any more
    answer = calc.answer(message)
    if answer:
        transaction = broker.pipeline()
        transaction.rpush(reply_list, answer)
        transaction.expire(reply_list, 30)  # or the answer to a client that is gone would stay for ever
        try:
            transaction.execute()
        except redis.ResponseError as error:  # the client has named a key that is no list, or is denied
            print(f"no answer on {reply_list}: {error}", file=sys.stderr)
