// Calls a method over Redis and prints the result. With a third argument, notify, it waits for none.

import { randomUUID } from 'node:crypto';
import { createClient } from 'redis';

const [method, params, notify] = process.argv.slice(2);
const redis = await createClient({ url: process.env.BROKER_URL }).connect();
const request = { jsonrpc: '2.0', method, params: JSON.parse(params) };
// No other client has this id. It names the reply list as well, for servers that know no reply_to.
// ACLs allow the lists that begin so.
const id = `jsonrpc2:reply:${randomUUID()}`;
if (!notify) {
  const [seconds] = await redis.sendCommand(['TIME']);
  const deadline = (Number(seconds) + 30) * 1000; // when this client gives up, by the clock of Redis
  Object.assign(request, { id, reply_to: id, deadline_ms: deadline });
}
await redis.lPush(process.env.QUEUE ?? 'calc', JSON.stringify(request));
if (notify) process.exit();

const popped = await redis.brPop(id, 30);
const { result, error } = popped ? JSON.parse(popped.element) : { error: 'no answer within 30 s' };
if (error) console.error(JSON.stringify(error));
else console.log(JSON.stringify(result));
process.exit(error ? 1 : 0); // and the connection goes
