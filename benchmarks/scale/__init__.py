"""The scale model: the real code of the live path on a virtual clock, against modelled AWS (docs/scaling.md)."""
