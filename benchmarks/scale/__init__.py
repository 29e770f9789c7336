"""The scale model: the live path's real code on a virtual clock, against modelled AWS (docs/scaling.md)."""
