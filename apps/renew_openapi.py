"""Write the schema that the app serves: `python apps/renew_openapi.py`.

Not here: the schema itself (`contract`).
"""

from __future__ import annotations

from api import create_app
from contract import FILE, to_json

if __name__ == "__main__":
    FILE.write_text(to_json(create_app().openapi()), "utf-8", newline="\n")
