"""Calls a method over RabbitMQ and prints the result. With a third argument, notify, it waits for none."""

import json
import os
import sys
import uuid

import pika

method, params, *notify = sys.argv[1:]
queue = os.environ.get("QUEUE", "calc")
connection = pika.BlockingConnection(pika.URLParameters(os.environ["BROKER_URL"]))
channel = connection.channel()
channel.queue_declare(queue, passive=True)  # fails if no server has created it
request = {"jsonrpc": "2.0", "method": method, "params": json.loads(params)}
properties = pika.BasicProperties(content_type="application/json")
if not notify:
    request["id"] = properties.correlation_id = str(uuid.uuid4())
    properties.reply_to = channel.queue_declare("", exclusive=True).method.queue  # the broker names it
    properties.expiration = "30000"  # ms: the broker drops the request then
channel.basic_publish("", queue, json.dumps(request), properties)
if notify:
    connection.close()
    sys.exit()

_, _, text = next(channel.consume(properties.reply_to, auto_ack=True, inactivity_timeout=30))
connection.close()  # and the reply queue goes
if text is None:
    sys.exit("no answer within 30 s")
response = json.loads(text)
if "error" in response:
    sys.exit(json.dumps(response["error"]))
print(json.dumps(response["result"]))
