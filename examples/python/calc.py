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
    """Returns the request that a text holds: always a dict, if perhaps one that answer refuses."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return UNREADABLE
    return request if isinstance(request, dict) else {"id": None}


def is_notification(request):
    """A request without an id is a notification. An id of null is an id."""
    return is_valid(request) and "id" not in request


def is_valid(request):
    return request.get("jsonrpc") == "2.0" and isinstance(request.get("method"), str)


def answer(request):
    """Runs a request and returns the text of the response. A notification has none, not even if it fails."""
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
