"""The application in workers that may have few connections, and that do not finish to boot while a file exists."""

import os
import time
from pathlib import Path
from typing import Final

from flask import Flask

from neobank import application
from neobank.serving import connections

MAX_CONNECTIONS: Final = 4


def create_app() -> Flask:
    connections.MAX_CONNECTIONS = MAX_CONNECTIONS  # type: ignore[misc]  # final for the service
    gate = Path(os.environ["BOOT_GATE"])
    if gate.exists():
        gate.write_text("A worker boots.")
    while gate.exists():
        time.sleep(0.01)
    return application.create_app()
