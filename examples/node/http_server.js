// Serves calc over HTTP, at the host, port and path of $BROKER_URL, until SIGTERM.

import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { answer, read } from './calc.js';

const url = new URL(process.env.BROKER_URL);
const server = createServer((request, response) => {
  response.setHeader('Allow', 'POST');
  if (request.url.split('?')[0] !== url.pathname) response.writeHead(404).end();
  else if (request.method !== 'POST') response.writeHead(405).end();
  else serve(request, response).catch(() => response.destroy()); // the client has hung up
});
server.listen(url.port, url.hostname, () => console.error('ready'));
process.on('SIGTERM', () => server.close()); // the program ends when the running requests are answered

async function serve(request, response) {
  const body = answer(read(await text(request)));
  response.statusCode = body === undefined ? 204 : 200; // an error is a 200, too; a notification has no answer
  response.setHeader('Content-Type', 'application/json');
  response.end(body);
}
