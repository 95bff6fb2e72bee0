"""The code that all routes share: authentication, errors, headers, rate limits, idempotency and request parsing."""
