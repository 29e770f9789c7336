"""``make chaos``: faults and attacks on a local cloud of its own, with a ledger of every accepted event."""
