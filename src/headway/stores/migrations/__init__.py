"""Migrations that lead an older ledger to the newest schema; alembic runs them when an older one is opened."""
