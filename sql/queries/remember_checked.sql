update totals_checked set streamer_id = %(streamer_id)s
