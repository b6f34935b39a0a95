"""The ASGI application of whichever site the settings describe."""

import os

from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

application = get_asgi_application()
if lane := os.environ.get("BENCH_LANE"):
    application = import_string(lane)(application)
