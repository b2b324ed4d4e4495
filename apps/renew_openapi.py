"""Write the schema that the app serves: `python apps/renew_openapi.py`.

Not here: the schema itself (`contract`).
"""

from __future__ import annotations

from api import create_app
from contract import FILE, as_text

if __name__ == "__main__":
    FILE.write_text(as_text(create_app().openapi()), "utf-8", newline="\n")
