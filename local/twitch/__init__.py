"""A simulated Twitch for the local cloud: sign-in, Helix, EventSub webhooks, and a stand-in player and chat.

It keeps everything in memory and answers as Twitch's documentation says (status codes, costs, limits,
headers). ``python -m local.twitch --help`` shows its options.
"""
