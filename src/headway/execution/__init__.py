"""The driver: intent, start, observe, settle, follow, take over."""
