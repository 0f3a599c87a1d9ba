"""The service, and what JSON-RPC 2.0 asks of a server, whatever carries the requests."""

import json


def add(params):
    """Takes its params by name or by position, and fails with TypeError if they are wrong."""
    if isinstance(params, dict):
        params = [params.get("a"), params.get("b")]
    if not isinstance(params, list) or len(params) != 2 or not all(type(p) in (int, float) for p in params):
        raise TypeError("add takes two numbers")
    return sum(params)


METHODS = {"add": add}

UNREADABLE = {}  # stands for a text that is not JSON


def read(text):
    """Returns the message that a text holds: a request, or a batch, which is a list of requests. Each
    request is a dict, if perhaps one that answer refuses."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return UNREADABLE
    batch = isinstance(message, list) and len(message) > 0
    return [as_request(item) for item in message] if batch else as_request(message)


def as_request(value):
    return value if isinstance(value, dict) else {}


def requests(message):
    """Returns the requests of a message: one, or those of a batch."""
    return message if isinstance(message, list) else [message]


def string_id(message):
    """Returns the first string id in a message."""
    return address(*[request.get("id") for request in requests(message)])


def address(*names):
    """Returns the first that may name a reply list or queue: a string of 1 to 255 bytes."""
    return next(filter(is_address, names), None)


def is_address(name):
    try:
        return isinstance(name, str) and 0 < len(name.encode()) < 256
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def wants_answer(message):
    return not all(is_notification(request) for request in requests(message))


def is_notification(request):
    """A request without an id is a notification. An id of null is an id."""
    return is_valid(request) and "id" not in request


def is_valid(request):
    return request.get("jsonrpc") == "2.0" and isinstance(request.get("method"), str)


def answer(message):
    """Runs a message and returns the text of the answer: None if it wants none, not even if it fails."""
    texts = [text for text in map(respond, requests(message)) if text]
    if not texts:
        return None
    return "[" + ",".join(texts) + "]" if isinstance(message, list) else texts[0]


def respond(request):
    response = {"jsonrpc": "2.0", "id": request.get("id")}
    try:
        text = json.dumps(response | outcome(request), allow_nan=False)
    except ValueError:  # JSON has no infinity
        text = json.dumps(response | error(-32603, "the result does not fit JSON"))
    return None if is_notification(request) else text


def outcome(request):
    if request is UNREADABLE:
        return error(-32700, "Parse error")
    if not is_valid(request):
        return error(-32600, "Invalid Request")
    if request["method"] not in METHODS:
        return error(-32601, "Method not found")
    try:
        return {"result": METHODS[request["method"]](request.get("params"))}
    except TypeError as wrong:
        return error(-32602, str(wrong))
    except Exception as failure:
        return error(-32000, str(failure))


def error(code, message):
    return {"error": {"code": code, "message": message}}
