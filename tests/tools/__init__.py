"""Programs that examine the tests; they are no tests."""
