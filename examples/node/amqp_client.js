// Calls a method over RabbitMQ and prints the result. With a third argument, notify, it waits for none.

import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';

const [method, params, notify] = process.argv.slice(2);
const queue = process.env.QUEUE ?? 'calc';
const connection = await connect(process.env.BROKER_URL);
const channel = await connection.createChannel();
await channel.checkQueue(queue); // fails if no server has created it
const request = { jsonrpc: '2.0', method, params: JSON.parse(params) };
const properties = { contentType: 'application/json' };
if (!notify) {
  request.id = randomUUID();
  const { queue: replyTo } = await channel.assertQueue('', { exclusive: true }); // the broker names it
  await channel.consume(replyTo, (delivery) => finish(JSON.parse(delivery.content)), { noAck: true });
  Object.assign(properties, { replyTo, correlationId: request.id, expiration: 30_000 }); // ms
  setTimeout(() => finish({ error: 'no answer within 30 s' }), 30_000).unref();
}
channel.sendToQueue(queue, Buffer.from(JSON.stringify(request)), properties);
if (notify) await close();

async function finish({ result, error }) {
  if (error) console.error(JSON.stringify(error));
  else console.log(JSON.stringify(result));
  process.exitCode = error ? 1 : 0;
  await close();
}

async function close() {
  await channel.close(); // when all that was sent has arrived
  await connection.close(); // and the reply queue goes
}
