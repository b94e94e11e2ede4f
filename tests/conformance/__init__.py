"""What the client promises, asked of every server on every event loop; a server's known fault is asserted too."""
