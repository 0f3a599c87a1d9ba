// Calls a method over HTTP and prints the result. With a third argument, notify, it waits for none.

const [method, params, notify] = process.argv.slice(2);
const request = { jsonrpc: '2.0', method, params: JSON.parse(params) };
if (!notify) request.id = 1; // the connection tells the answers apart: any id will do
const answer = await fetch(process.env.BROKER_URL, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(request),
  signal: AbortSignal.timeout(30_000),
});
if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${await answer.text()}`);

if (answer.status !== 204) { // which is the answer to a notification
  const { result, error } = await answer.json();
  if (error) console.error(JSON.stringify(error));
  else console.log(JSON.stringify(result));
  process.exitCode = error ? 1 : 0;
}
