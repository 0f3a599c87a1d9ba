// Serves calc over RabbitMQ until SIGTERM. Any number of these may serve one queue.

import { connect } from 'amqplib';
import { answer, read, stringId, wantsAnswer } from './calc.js';

const queue = process.env.QUEUE ?? 'calc';
const connection = await connect(process.env.BROKER_URL);
const look = await connection.createChannel();
look.on('error', () => {}); // a look at a queue that is not there ends the channel
const exists = await look.checkQueue(queue).catch(() => null); // it is used as it is, whatever its attributes
const channel = await connection.createChannel();
if (!exists) await channel.assertQueue(queue, { durable: true }); // or created
await channel.prefetch(16);

await channel.consume(queue, (delivery) => {
  const message = read(delivery.content);
  const id = stringId(message); // stands for a property that is missing
  const replyQueue = delivery.properties.replyTo || id;
  if ([undefined, queue].includes(replyQueue) && wantsAnswer(message)) {
    console.error('no reply queue:', delivery.content.toString());
  } else {
    const text = answer(message);
    const properties = { correlationId: delivery.properties.correlationId || id, contentType: 'application/json' };
    if (text !== undefined) channel.sendToQueue(replyQueue, Buffer.from(text), properties);
  }
  channel.ack(delivery); // only now: if this server dies before, another runs the request
});

process.on('SIGTERM', async () => {
  await channel.close(); // the broker gives what is not acknowledged to another server
  await connection.close();
});
console.error('ready');
