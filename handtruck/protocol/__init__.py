"""S3 itself, sans-IO: nothing in this folder awaits, or reads a clock, a disk, a socket or the environment."""
