"""The event store: recording deliveries, answering reads, and the upkeep of the tables."""
