"""Look for known faults in the packages of requirements.lock, and say of how many of them anything could be found.

The service is asked for each package by itself; a mirror of the index may know none of the versions, or not answer.
Exits with 1 where a fault is known.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
COMMAND = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", str(LOCK), "--format", "json"]

done = subprocess.run(
    [*COMMAND, "--timeout", "5", "--progress-spinner", "off", "--desc", "off"],
    capture_output=True,
    text=True,
    check=False,
)
try:
    packages = json.loads(done.stdout)["dependencies"]
except (ValueError, KeyError):
    reason = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    print(f"requirements.lock: not checked for known faults, since pip-audit could not: {reason:.200}")
    sys.exit(0)
checked = [one for one in packages if "skip_reason" not in one]
faults = [f"{one['name']} {one['version']}: {fault['id']}" for one in checked for fault in one["vulns"]]
print(
    f"requirements.lock: {len(checked)} of {len(packages)} packages checked for known faults, the service knows none "
    f"of the others; found: {'; '.join(faults) or ('none' if checked else 'nothing can be said')}"
)
sys.exit(bool(faults))
