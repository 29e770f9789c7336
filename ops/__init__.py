"""What operators run against a stage: doctor before a deployment, smoke after it, destroy at the end."""
