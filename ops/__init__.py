"""What operators run: doctor before a stage's deployment, smoke after it, destroy to delete it."""
