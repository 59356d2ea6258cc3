"""Print the lowest versions that setup.cfg allows, as constraints for pip."""

from __future__ import annotations

import re
from pathlib import Path

for line in Path("setup.cfg").read_text().splitlines():
    if found := re.fullmatch(r"    ([A-Za-z0-9_-]+)(?:\[\w+\])? >= ([\d.]+)", line):
        print(f"{found[1]}=={found[2]}")
