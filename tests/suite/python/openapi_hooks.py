"""What Schemathesis makes up, brought near to what a client sends: else hardly a request would find anything.

What it is changed to depends on what it was alone, so that a failure can be repeated.
"""

import zlib

import schemathesis

NAMES = ["a", "b", "é/%"]


def number(value, modulus):
    return zlib.crc32(repr(value).encode()) % modulus


@schemathesis.hook
def map_path_parameters(context, parameters):
    for name, value in (parameters or {}).items():
        if name not in ("kind", "session", "watch", "revision") and number(value, 4):
            parameters[name] = NAMES[number(value, len(NAMES))]
    return parameters


@schemathesis.hook
def map_query(context, query):
    for name, value in list((query or {}).items()):
        if name == "wait":
            # It takes as long as it says.
            query[name] = "20ms"
        elif name == "ttl":
            query[name] = "1s"
        elif name in ("tag", "status", "after", "session") and number(value, 4):
            del query[name]
    return query


@schemathesis.hook
def map_headers(context, headers):
    for name in list(headers or {}):
        if name in ("If-Match", "If-None-Match", "Noah-Cause") and number(headers, 4):
            del headers[name]
    return headers


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    if "ttl" in body:
        body["ttl"] = "2s"
    if "format" in body and number(body, 4):
        body["format"] = ["json", "string", "yaml"][number(body, 3)]
    if "pattern" in body:
        body["pattern"] = "//noah/hosts/" + NAMES[number(body, 2)]
    if "endpoint" in body and number(body, 8):
        body["endpoint"] = "http://127.0.0.1:9/" + str(number(body, 2))
    if "headers" in body and number(body, 4):
        del body["headers"]
    if "secret" in body and number(body, 4):
        body["secret"] = True
    for name in ("tags", "link_name", "name"):
        if name in body and number(body, 4):
            body[name] = NAMES[number(body, len(NAMES))]
    if "ops" in body and number(body, 8):
        name = NAMES[number(body, 2)]
        body["ops"] = [
            {"put": "/ephemerals/" + name, "data": "x"},
            {"put": "/hosts/" + name, "body": {"status": "up"}},
            {"check": "/hosts/" + name, "exists": True},
        ][: 1 + number(body, 3)]
    return body
