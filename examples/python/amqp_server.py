"""Serves calc over RabbitMQ until SIGTERM. Any number of these may serve one queue."""

import os
import signal
import sys
import threading

import pika

import calc

queue = os.environ.get("QUEUE", "calc")
connection = pika.BlockingConnection(pika.URLParameters(os.environ["BROKER_URL"]))
try:
    connection.channel().queue_declare(queue, passive=True)  # it is used as it is, whatever its attributes
except pika.exceptions.ChannelClosedByBroker:
    connection.channel().queue_declare(queue, durable=True)  # or created
channel = connection.channel()
channel.basic_qos(prefetch_count=16)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", file=sys.stderr)

for delivery, properties, text in channel.consume(queue, inactivity_timeout=1):
    if stop.is_set():
        break
    if delivery is None:  # after a second without a request
        continue
    message = calc.read(text)
    id = calc.string_id(message)  # stands for a property that is missing
    reply_queue = properties.reply_to or id
    if reply_queue in (None, queue) and calc.wants_answer(message):
        print("no reply queue:", text, file=sys.stderr)
    elif answer := calc.answer(message):
        reply = pika.BasicProperties(correlation_id=properties.correlation_id or id, content_type="application/json")
        channel.basic_publish("", reply_queue, answer, reply)
    channel.basic_ack(delivery.delivery_tag)  # only now: if this server dies before, another runs the request
connection.close()  # the broker gives what is not acknowledged to another server
