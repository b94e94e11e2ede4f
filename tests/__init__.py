"""The tests. What each folder is for: docs/design.md."""

import os

# botocore is an oracle: the one in Python, whatever else is installed.
os.environ["BOTO_DISABLE_CRT"] = "true"
