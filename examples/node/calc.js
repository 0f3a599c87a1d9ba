// The service, and what JSON-RPC 2.0 asks of a server, whatever carries the requests.

// Takes its params by name or by position, and fails with TypeError if they are wrong.
function add(params) {
  const [a, b] = Array.isArray(params) ? params : [params?.a, params?.b];
  if (typeof a !== 'number' || typeof b !== 'number') throw new TypeError('add takes two numbers');
  return a + b;
}

const methods = new Map([['add', add]]);

const unreadable = {}; // stands for a text that is not JSON

// Returns the request that a text holds: always an object, if perhaps one that answer refuses.
export function read(text) {
  try {
    const request = JSON.parse(text);
    return typeof request === 'object' && request !== null ? request : { id: null };
  } catch {
    return unreadable;
  }
}

// A request without an id is a notification. An id of null is an id.
export function isNotification(request) {
  return isValid(request) && request.id === undefined;
}

function isValid(request) {
  return request.jsonrpc === '2.0' && typeof request.method === 'string';
}

// Runs a request and returns the text of the response. A notification has none, not even if it fails.
export function answer(request) {
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
