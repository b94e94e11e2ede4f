"""handtruck.Transport against peers that are scripted byte by byte. Nothing here knows S3."""
