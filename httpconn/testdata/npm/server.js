// Serves calc over HTTP with jayson, on a loopback port of its own choice, which
// it prints.
//
//	node server.js

'use strict';

const jayson = require('jayson');

const numbers = (operator) => (params, callback) =>
  params.length === 2 && params.every((n) => typeof n === 'number')
    ? callback(null, operator(...params))
    : callback({ code: -32602, message: 'two numbers are wanted' });

const server = new jayson.Server({
  add: numbers((a, b) => a + b),
  subtract: numbers((a, b) => a - b),
}).http();
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
