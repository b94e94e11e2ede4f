"""What clients leave behind when things go wrong: ``python -m benchmarks.guarantees --help``.

``proxy`` is the road between a client and the server, ``stage`` plays one call of one client on it, ``uploads`` and
``downloads`` are the situations, ``table`` writes down what was found. ``drivers`` has one script a client.
"""
