// Calls a service over HTTP with jayson, and prints each response on a line.
//
//	node client.js URL

'use strict';

const { promisify } = require('node:util');
const jayson = require('jayson');

const client = jayson.Client.http(process.argv[2]);
const send = promisify(client.request.bind(client));
const print = (response) => console.log(JSON.stringify(response ?? null));

(async () => {
  print(await send('add', [1, 5.1]));
  print(await send('subtract', { A: 1, B: 5 }));
  print(await send('multiply', [1, 5]));
  print(await send('add', ['a', 'b']));
  print(await send('add', [1, 5.1], null)); // a notification
  print(await send([
    client.request('add', [1, 2], 'first', false),
    client.request('add', [1, 2], null, false),
    client.request('subtract', [1, 2], 'second', false),
  ]));
  print(await send([client.request('add', [1, 2], null, false)]));
})();
