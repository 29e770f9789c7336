"""A simulated Twitch for the local cloud: sign-in, Helix, EventSub webhooks and stand-ins for the embeds.

It keeps everything in memory and answers as Twitch documents itself (status codes, costs, limits, headers),
so that what works against it has a fair chance against the real one. ``python -m local.twitch --help``.
"""
