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
    request = calc.read(popped[1])
    names = [request.get("reply_to"), request.get("id")]
    reply_list = next((name for name in names if isinstance(name, str) and name != queue), None)
    if reply_list is None and not calc.is_notification(request):
        print("no reply list:", popped[1], file=sys.stderr)
        continue
    deadline = request.get("deadline_ms")  # by the clock of Redis
    if isinstance(deadline, int) and deadline < broker.time()[0] * 1000:
        continue  # nobody waits any more
    answer = calc.answer(request)
    if answer:
        transaction = broker.pipeline()
        transaction.rpush(reply_list, answer)
        transaction.expire(reply_list, 30)  # or the answer to a client that is gone would stay for ever
        transaction.execute()
