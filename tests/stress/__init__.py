"""The event store under stress: several processes, kills and crashes, judged by an oracle of its own."""
