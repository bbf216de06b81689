"""Reads a delivery as a CloudEvent in binary mode with the cloudevents package, and prints its attributes and data.

Standard input is JSON: the headers by name, and the body as text.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

delivery = json.load(sys.stdin)
event = from_binary(HTTPMessage(delivery["headers"], delivery["body"].encode()), JSONFormat())
print(json.dumps({"attributes": event.get_attributes(), "data": event.get_data()}, default=str))
