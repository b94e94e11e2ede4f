"""Real S3 servers for the tests: each starts in a throw-away directory and leaves nothing behind."""
