"""What some code imports, all that is imported for it included."""

import subprocess
import sys


def imported_by(code, *, folder):
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())
