select wait_for_writers() as done
