select move_windows() as moved
