"""The ``handtruck`` command."""
