"""Verifies a delivery with the standardwebhooks package and prints what it says of it.

Standard input is JSON: the secret, the headers by name, and the body as text.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

delivery = json.load(sys.stdin)
try:
    Webhook(delivery["secret"]).verify(delivery["body"], delivery["headers"])
    print(json.dumps("verified"))
except WebhookVerificationError as error:
    print(json.dumps(str(error)))
