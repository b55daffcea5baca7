"""Contract suites and fakes, public, for people who extend Headway."""
