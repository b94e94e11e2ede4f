"""handtruck: the S3 client for structured concurrency."""
