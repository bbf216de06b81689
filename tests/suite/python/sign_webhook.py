"""Signs a delivery with the standardwebhooks package and prints the signature.

Standard input is JSON: the secret, the id, the time in seconds, and the body as text.
"""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook

delivery = json.load(sys.stdin)
when = datetime.fromtimestamp(delivery["timestamp"], tz=timezone.utc)
print(json.dumps(Webhook(delivery["secret"]).sign(delivery["id"], when, delivery["body"])))
