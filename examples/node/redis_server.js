// Serves calc over Redis until SIGTERM. Any number of these may serve one queue.

import { ErrorReply, createClient } from 'redis';
import { address, answer, read, requests, stringId, wantsAnswer } from './calc.js';

const queue = process.env.QUEUE ?? 'calc';
const redis = await createClient({ url: process.env.BROKER_URL }).connect();
let stopping = false;
process.on('SIGTERM', () => { stopping = true; });
console.error('ready');

while (!stopping) {
  const popped = await redis.brPop(queue, 1); // the oldest request, or null after a second
  if (!popped) continue;

  const message = read(popped.element);
  const [first] = requests(message); // whose reply_to and deadline_ms count for a whole batch
  const replyList = address(first.reply_to, stringId(message));
  if ([undefined, queue].includes(replyList) && wantsAnswer(message)) {
    console.error('no reply list:', popped.element);
    continue;
  }
  const deadline = first.deadline_ms; // by the clock of Redis
  const [seconds] = await redis.sendCommand(['TIME']);
  if (typeof deadline === 'number' && deadline > 0 && deadline < seconds * 1000) continue; // nobody waits any more

  const text = answer(message);
  if (text === undefined) continue;
  await redis.multi()
    .rPush(replyList, text)
    .expire(replyList, 30) // or the answer to a client that is gone would stay for ever
    .exec()
    .catch((error) => { // the client has named a key that is no list, or is denied
      if (!(error instanceof ErrorReply)) throw error;
      console.error(`no answer on ${replyList}: ${error.replies?.[0] ?? error}`);
    });
}
await redis.close();
