// The service, and what JSON-RPC 2.0 asks of a server, whatever carries the requests.

// Takes its params by name or by position, and fails with TypeError if they are wrong.
function add(params) {
  const [a, b] = Array.isArray(params) ? params : [params?.a, params?.b];
  if (typeof a !== 'number' || typeof b !== 'number') throw new TypeError('add takes two numbers');
  return a + b;
}

const methods = new Map([['add', add]]);

const unreadable = {}; // stands for a text that is not JSON

// Returns the message that a text holds: a request, or a batch, which is an array of requests. Each
// request is an object, if perhaps one that answer refuses.
export function read(text) {
  try {
    const message = JSON.parse(text);
    const batch = Array.isArray(message) && message.length > 0;
    return batch ? message.map(asRequest) : asRequest(message);
  } catch {
    return unreadable;
  }
}

function asRequest(value) {
  return value instanceof Object && !Array.isArray(value) ? value : {};
}

// Returns the requests of a message: one, or those of a batch.
export function requests(message) {
  return [message].flat();
}

// Returns the first string id in a message.
export function stringId(message) {
  return address(...requests(message).map((request) => request.id));
}

// Returns the first that may name a reply list or queue: a string of 1 to 255 bytes.
export function address(...names) {
  return names.find((name) => typeof name === 'string' && name !== '' && Buffer.byteLength(name) <= 255);
}

export function wantsAnswer(message) {
  return !requests(message).every(isNotification);
}

// A request without an id is a notification. An id of null is an id.
function isNotification(request) {
  return isValid(request) && request.id === undefined;
}

function isValid(request) {
  return request.jsonrpc === '2.0' && typeof request.method === 'string';
}

// Runs a message and returns the text of the answer: undefined if it wants none, not even if it fails.
export function answer(message) {
  const texts = requests(message).map(respond).filter((text) => text !== undefined);
  if (!Array.isArray(message)) return texts[0];
  return texts.length > 0 ? `[${texts.join(',')}]` : undefined;
}

function respond(request) {
  const response = { jsonrpc: '2.0', id: request.id ?? null, ...outcome(request) };
  return isNotification(request) ? undefined : JSON.stringify(response);
}

function outcome(request) {
  if (request === unreadable) return error(-32700, 'Parse error');
  if (!isValid(request)) return error(-32600, 'Invalid Request');
  const method = methods.get(request.method);
  if (!method) return error(-32601, 'Method not found');
  try {
    const result = method(request.params) ?? null;
    const fits = typeof result !== 'number' || Number.isFinite(result); // JSON has no infinity
    return fits ? { result } : error(-32603, 'the result does not fit JSON');
  } catch (failure) {
    return error(failure instanceof TypeError ? -32602 : -32000, failure.message);
  }
}

function error(code, message) {
  return { error: { code, message } };
}
